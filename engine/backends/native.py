"""The native CPU backend: our own kernels run every component, one call each, with the interpreter lock released."""

from __future__ import annotations

import logging
import threading
from pathlib import Path
from typing import Any

import numpy as np

from ..components import components
from ..config import ModelConfig
from ..errors import ArtefactError, BackendError, MissingDependency
from ..ops.threads import thread_count
from . import native_decoder, native_memory, packed, together

log = logging.getLogger("spar.native")
PRECISIONS = ("fp32", "bf16", "int8", "int4")
_SMALL = 1 << 15  # numbers in a picture's residual stream in the DiT, up to which a model is small
_MOST_LANES = 4


def _native() -> Any:
    try:
        from .. import _native
    except ImportError as error:
        raise MissingDependency(
            f"backend='native' needs the compiled extension, which does not load ({error}); install with a C++ compiler"
        ) from error
    return _native


class NativeBackend:
    """Components in C++, each packed on its first run.

    checkpoint  what `weights` opens, or random weights
    precision   "fp32"; "bf16": weights and activations, with float32 sums and residual stream; "int8": as bf16, with
                the large linears of tower, language model, connector and DiT in int8 (one scale a column, one a row);
                "int4": as int8, with the linears of the language model and its head in 4 bits (one scale for 32
                weights of a column), which is what decoding a token reads
    threads     of all calls together; None: the processors that this process may use
    isa         instruction set to use, a name of `isas()`; None: the best of this machine
    pin         bind each worker thread to a processor
    packed_cache  directory that keeps packed weights as files, which later processes map instead of packing again;
                None: none is kept. A damaged file is made again, and the log says so; one that cannot be written is
                not kept
    """

    name = "native"
    together = together

    def __init__(
        self,
        checkpoint: Any,
        *,
        config: ModelConfig | None = None,
        precision: str = "bf16",
        threads: int | None = None,
        isa: str | None = None,
        pin: bool = False,
        packed_cache: str | Path | None = None,
    ):
        if precision not in PRECISIONS:
            raise BackendError(f"native: precision={precision!r} is unknown; it has {', '.join(PRECISIONS)}")
        self.checkpoint = checkpoint
        self.config = config or checkpoint.config
        self.precision = precision
        self._specs = components(self.config)
        self._cache = packed_cache
        self._described = numbers, lists = describe(self.config)
        options = {"precision": precision, "threads": thread_count(threads), "pin": pin, "isa": isa or ""}
        self._model = _native().NativeModel(numbers=numbers, lists=lists, **options)
        self._lock = threading.RLock()

    @property
    def isa(self) -> str:
        """Instruction set of the kernels in use."""
        return self._opened().isa

    @property
    def threads(self) -> int:
        return self._opened().threads

    @property
    def lanes(self) -> int:
        """Runs at a time that serve many requests best: of a small model one on each thread, since threads that share
        its short loops mostly wait for each other; else one, whose scratch memory is all that is needed."""
        dit = self.config.dit
        return min(self.threads, _MOST_LANES) if dit.sample_size**2 * dit.width <= _SMALL else 1

    def load(self, component: str) -> None:
        """Pack the weights of one component; nothing when it is loaded."""
        model = self._opened()
        if model.loaded(component):  # a call of one component does not wait for the packing of another
            return
        with self._lock:
            if not model.loaded(component):
                self._pack(model, component)
                self.checkpoint.release(needed(self.checkpoint, component))
                _native().return_freed()  # copies of weights that were made to be packed

    def run(
        self,
        component: str,
        inputs: dict[str, Any],
        taps: bool = False,
        cancel: Any | None = None,
        strips: tuple[int, int] | None = None,
    ) -> dict[str, Any]:
        """Outputs of one component by name, float32; with `taps` also its inner tensors by their golden names.

        cancel  a `Cancel`; once set, the run stops before its next block and raises Cancelled
        strips  (count, stages): the decoder's last stages, as many as they are convolutions only, work on one strip of
                the picture after another: the same bits from less memory (`memory`), and some lines are computed
                twice; not with `taps`. None: whole, or in a few strips where the picture would need much
                (`native_decoder.usual`); (1, 1) is always whole

        `cross_keys`, `cross_values`, `keys` and `values` are kept packed: pass them on as they are, or make arrays of
        them with numpy.asarray. A cache that is continued twice is copied for the second time.
        """
        model = self._opened()
        if component not in self._specs:
            raise BackendError(f"native: component {component!r} is unknown; it has {', '.join(self._specs)}")
        spec = self._specs[component]
        axes = spec.check(inputs)
        self.load(component)
        kept = _native().KeptTensor
        given = {}
        for name, value in inputs.items():
            if isinstance(value, together.Several):
                given[name] = value.parts
            else:
                given[name] = value if isinstance(value, kept) else np.ascontiguousarray(value)
        if strips is None and component == "decoder" and not taps:
            strips = native_memory.usual_strips(axes, self.config, self.precision)
        if strips is not None:
            if component != "decoder":
                raise BackendError(f"native: strips={tuple(strips)} of {component}; only the decoder can be cut")
            given["strips"] = np.array(strips, np.int64)
        return model.run(component, given, taps, cancel)

    def strips(self, component: str, axes: dict[str, int]) -> list[native_decoder.Strips]:
        """Values that `run` takes for `strips` at these sizes, least work first: [], but for the decoder."""
        return native_decoder.strips(axes, self.config.decoder) if component == "decoder" else []

    def memory(
        self, component: str, axes: dict[str, int], strips: native_decoder.Strips | None = None
    ) -> tuple[int, int]:
        """Bytes of a component's packed weights, and of the scratch memory of one run at these sizes.

        Before the component is loaded its weights are counted from their shapes, some percent too high."""
        model = self._opened()
        run = native_memory.scratch(component, axes, self.config, self.precision, model.threads, strips)
        if model.loaded(component):
            return model.packed(component).nbytes, run
        shapes = {name: self.checkpoint.info(name).shape for name in needed(self.checkpoint, component)}
        return native_memory.packed(component, shapes, self.precision), run

    def trim(self) -> None:
        """Give back scratch memory that no run uses."""
        self._opened().trim()

    def cancel_flag(self) -> Any:
        """A fresh flag for `cancel` of `run`."""
        return Cancel()

    def unload(self, component: str) -> None:
        """Free one component; its next run packs it again."""
        self._opened().unload(component)

    def close(self) -> None:
        self._model = None

    def _opened(self) -> Any:
        if self._model is None:
            raise BackendError("native: the backend is closed; open another one")
        return self._model

    def _pack(self, model: Any, component: str) -> None:
        names = needed(self.checkpoint, component)
        tensors = {name: stored(self.checkpoint, name) for name in names}
        path = key = None
        cache = self._cache
        if cache is not None:
            key = packed.key_of(component, self.precision, self._described, self.checkpoint.sha256(names))
            path = packed.path_of(cache, component, self.precision, key)
            try:
                payload = packed.read(path, key)
                if payload is not None:
                    self._restore(model, component, tensors, path, payload)
                    return
            except (ArtefactError, OSError) as error:
                log.warning("%s", str(error).replace("delete the file, it will be made again", "it is made again"))
        # Panels are padded to 32 columns, and a block of few channels is mostly padding.
        reserve = sum(16 * array.size for array, _ in tensors.values()) + (64 << 20)
        model.load(component, tensors, reserve)
        if path is None:
            return
        try:
            packed.write(path, key, model.packed(component))
        except OSError as error:  # a cache that cannot be written costs time at the next start, no request
            log.warning("%s: packed weights cannot be kept (%s)", path, error.strerror or error)

    @staticmethod
    def _restore(model: Any, component: str, tensors: dict, path: Path, payload: np.ndarray) -> None:
        model.restore(component, tensors, payload)
        needed = model.packed(component).nbytes
        if needed != payload.nbytes:
            model.unload(component)
            raise ArtefactError(f"{path}: it holds {payload.nbytes} bytes, the component needs {needed}; "
                                "delete the file, it will be made again")  # fmt: skip


def Cancel() -> Any:  # noqa: N802
    """A flag for `NativeBackend.run`: `set()` from any thread stops the run that was given it."""
    return _native().Cancel()


def isas() -> list[str]:
    """Instruction sets that the backend can run on this machine, best first."""
    return _native().native_isas()


def needed(checkpoint: Any, component: str) -> list[str]:
    """Names of the parameters that a component is packed from."""
    names = checkpoint.names(component)
    if not names:
        raise BackendError(f"native: the weights at {checkpoint.directory} hold nothing of component {component!r}")
    return names


def stored(checkpoint: Any, name: str) -> tuple[np.ndarray, str]:
    """A parameter as it is stored where the packer reads that type, else in float32."""
    kind = checkpoint.info(name).dtype
    if kind in ("F32", "BF16", "F16"):
        return np.ascontiguousarray(checkpoint.raw(name)), kind
    return checkpoint.f32(name), "F32"


def describe(config: ModelConfig) -> tuple[dict[str, float], dict[str, list[int]]]:
    """The configuration as the native code reads it: numbers and lists of whole numbers, by part and field."""
    v, t, s, d, x = config.vision, config.language, config.streams, config.dit, config.decoder
    numbers = {
        "vision.width": v.width, "vision.depth": v.depth, "vision.heads": v.heads, "vision.mlp_width": v.mlp_width,
        "vision.grid": v.grid, "vision.patch_size": v.patch_size, "vision.eps": v.eps,
        "language.width": t.width, "language.depth": t.depth, "language.heads": t.heads,
        "language.kv_heads": t.kv_heads, "language.rope_theta": t.rope_theta, "language.eps": t.eps,
        "connector_depth": config.connector_depth,
        "router.picks": config.router.picks if config.router else 0,
        "router.temperature": config.router.temperature if config.router else 1.0,
        "streams.dual": s.dual, "streams.blocks": s.blocks, "streams.pixel_depth": s.pixel_depth,
        "streams.pixel_heads": s.pixel_heads, "streams.pixel_mlp_width": s.pixel_mlp_width,
        "dit.depth": d.depth, "dit.width": d.width, "dit.heads": d.heads, "dit.head_dim": d.head_dim,
        "dit.cross_heads": d.cross_heads, "dit.mlp_width": d.mlp_width, "dit.caption_width": d.caption_width,
        "dit.in_channels": d.in_channels, "dit.sample_size": d.sample_size, "dit.eps": d.eps,
        "dit.positions": d.position == "sincos",
        "decoder.latent_channels": x.latent_channels, "decoder.head_dim": x.head_dim,
    }  # fmt: skip
    lists = {
        "levels": list(config.levels),
        "decoder.channels": list(x.channels), "decoder.depths": list(x.depths),
        "decoder.attention": [int(kind) for kind in x.attention],
    } | {f"decoder.scales.{stage}": list(kernels) for stage, kernels in enumerate(x.scales)}  # fmt: skip
    return {name: float(value) for name, value in numbers.items()}, lists
