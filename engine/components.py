"""One spec per component: names, axes, ranges, types. ONNX axes, profiles, run-time checks, parity inputs read it.

The cuts follow the exact optimizations of the specification:

    vision      picture tiles -> visual tokens
    language    embeddings (+ key-value cache) -> the hidden levels of the wanted rows (+ grown cache)
    lm_head     last hidden row -> logits; never runs in generation (E8)
    condition   levels -> routing -> connector -> caption; image rows come from the visual tokens (E12)
    context     caption -> cross-attention keys and values of every DiT block, once per image (E1, E2, E14)
    modulation  timesteps -> AdaLN vectors of every block, once per schedule (E3)
    dit         latent -> velocity, for one or two guidance branches that share block 0's self-attention (E7)
    streams     visual tokens -> latent, for reconstruction
    decoder     latent -> picture
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from .errors import InputError

if TYPE_CHECKING:
    from .config import ModelConfig


@dataclass(frozen=True, slots=True)
class Tensor:
    """Axes of one input or output, by name; a number is a fixed size."""

    axes: tuple[str | int, ...]
    dtype: str = "float32"  # at the seam; where it is float32, an oracle in double precision passes float64
    exact: bool = False  # a float that a backend may not round, whatever its precision


def _tensors(spec: dict[str, str], integers: tuple[str, ...] = (), exact: tuple[str, ...] = ()) -> dict[str, Tensor]:
    return {
        name: Tensor(
            tuple(int(axis) if axis.isdigit() else axis for axis in axes.split()),
            "int64" if name in integers else "float32",
            name in exact,
        )
        for name, axes in spec.items()
    }


@lru_cache(maxsize=64)  # numpy takes microseconds to name a type, and every run asks for several
def _fits(found: Any, dtype: str) -> bool:
    """Whether an array of type `found` may be given for `dtype`."""
    return str(found) in (dtype, dtype.replace("float32", "float64"))


@dataclass(frozen=True, slots=True)
class Component:
    """What a backend must offer under `name`."""

    name: str
    inputs: dict[str, Tensor]
    outputs: dict[str, Tensor]
    ranges: dict[str, tuple[int, int, int]]  # free axis: least, usual, most
    sizes: dict[str, int]  # axis fixed by the model's configuration

    def check(self, inputs: dict[str, Any]) -> dict[str, int]:
        """Size of every axis of `inputs`; a missing, extra, mistyped or mis-shaped array is an InputError."""
        if inputs.keys() != self.inputs.keys():
            missing, extra = self.inputs.keys() - inputs.keys(), inputs.keys() - self.inputs.keys()
            raise InputError(
                f"{self.name}: inputs missing {sorted(missing)}, unknown {sorted(extra)}; "
                f"it takes {sorted(self.inputs)}"
            )
        seen = dict(self.sizes)
        for name, tensor in self.inputs.items():
            value = inputs[name]
            if not _fits(value.dtype, tensor.dtype):
                raise InputError(f"{self.name}: `{name}` is {value.dtype}, expected {tensor.dtype}")
            if len(value.shape) != len(tensor.axes):
                raise InputError(f"{self.name}: `{name}` has shape {tuple(value.shape)}, expected {tensor.axes}")
            for axis, size in zip(tensor.axes, value.shape, strict=True):
                want = axis if isinstance(axis, int) else seen.setdefault(axis, size)
                if want != size:
                    raise InputError(f"{self.name}: `{name}` has {axis}={size}, but {want} is needed")
        for axis, (least, _, most) in self.ranges.items():
            if not least <= seen.get(axis, least) <= most:
                raise InputError(f"{self.name}: {axis}={seen[axis]} is outside {least}..{most}")
        return seen

    def example(self, rng: np.random.Generator, **axes: int) -> dict[str, np.ndarray]:
        """Random inputs at the usual sizes, or at the given ones: for parity checks and benchmarks.

        Integer inputs are valid as indices: `rows`, `order` count up, `branches` is 0, `lengths` is full."""
        sizes = {axis: usual for axis, (_, usual, _) in self.ranges.items()} | self.sizes | axes
        made: dict[str, np.ndarray] = {}
        for name, tensor in self.inputs.items():
            shape = tuple(axis if isinstance(axis, int) else sizes[axis] for axis in tensor.axes)
            if name == "timesteps":
                made[name] = np.linspace(999, 1, shape[0]).astype(np.float32)
            elif tensor.dtype == "float32":
                made[name] = rng.standard_normal(shape, dtype=np.float32)
            elif name == "lengths":
                made[name] = np.full(shape, sizes["tokens"], np.int64)
            elif name == "branches":
                made[name] = np.zeros(shape, np.int64)
            else:
                made[name] = np.arange(shape[0], dtype=np.int64)
        return made


def components(config: ModelConfig) -> dict[str, Component]:
    """Every component of a model, by name, in the order of the data flow."""
    v, t, d = config.vision, config.language, config.dit
    longest, prompt = t.max_positions, config.query_count + 32
    batch, tokens, side = (1, 1, 16), (1, prompt, longest), (1, d.sample_size, 4 * d.sample_size)
    pixels = (2 * v.patch_size, v.image_size, 4 * v.image_size)
    sizes = {
        "hidden": t.width, "levels": len(config.levels), "layers": t.depth, "kv_heads": t.kv_heads,
        "head_dim": t.head_dim, "vocabulary": t.vocab_size, "caption_width": d.caption_width, "blocks": d.depth,
        "cross_heads": d.cross_heads, "cross_head_dim": d.cross_head_dim, "dit_width": d.width,
        "channels": d.in_channels,
    }  # fmt: skip
    cross = "blocks branch cross_heads tokens cross_head_dim"
    past, grown = "layers batch kv_heads past head_dim", "layers batch kv_heads total head_dim"

    def component(
        name: str, inputs: dict[str, str], outputs: dict[str, str], *, integers=(), exact=(), **ranges
    ) -> Component:
        named = " ".join((*inputs.values(), *outputs.values())).split()
        return Component(
            name,
            _tensors(inputs, integers, exact),
            _tensors(outputs),
            ranges,
            {axis: size for axis, size in sizes.items() if axis in named},
        )

    listed = (
        component(
            "vision",
            {"pixel_values": "tiles 3 height width"},
            {"features": "tiles tokens hidden"},
            tiles=(1, 1, 64), height=pixels, width=pixels,
        ),
        component(
            "language",
            {"inputs_embeds": "batch tokens hidden", "past_keys": past, "past_values": past, "rows": "rows"},
            {"hidden_levels": "levels batch rows hidden", "keys": grown, "values": grown},
            integers=("rows",), batch=batch, tokens=tokens, past=(0, 0, longest), rows=tokens,
        ),
        component(
            "lm_head",
            {"hidden_states": "batch hidden"},
            {"logits": "batch vocabulary"},
            batch=(1, 1, 64),
        ),
        component(
            "condition",
            {"hidden_levels": "levels batch rows hidden", "image_features": "batch image_tokens hidden",
             "order": "tokens"},
            {"caption": "batch tokens caption_width"},
            integers=("order",), batch=batch, rows=tokens, image_tokens=(0, 0, longest), tokens=tokens,
        ),
        component(
            "context",
            {"caption": "branch tokens caption_width"},
            {"cross_keys": cross, "cross_values": cross},
            branch=batch, tokens=tokens,
        ),
        component(
            "modulation",
            {"timesteps": "steps"},
            {"modulation": "steps blocks 6 dit_width", "final_modulation": "steps 2 dit_width"},
            exact=("timesteps",), steps=(1, 20, 1000),
        ),
        component(
            "dit",
            {"latent": "batch channels height width", "modulation": "batch blocks 6 dit_width",
             "final_modulation": "batch 2 dit_width", "branches": "branch", "cross_keys": cross,
             "cross_values": cross, "lengths": "branch"},
            {"velocity": "branch channels height width"},
            integers=("branches", "lengths"),
            batch=(1, 1, 8), branch=(1, 2, 16), height=side, width=side, tokens=tokens,
        ),
        component(
            "streams",
            {"features": "batch tokens hidden"},
            {"latent_tokens": "batch tokens channels"},
            batch=batch, tokens=(1, v.tokens, 16 * v.tokens),
        ),
        component(
            "decoder",
            {"latent": "batch channels height width"},
            {"image": "batch 3 out_height out_width"},
            batch=(1, 1, 8), height=side, width=side,
        ),
    )  # fmt: skip
    return {component.name: component for component in listed}
