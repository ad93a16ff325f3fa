"""From a PyTorch pickle of tensors to a checkpoint directory. The only place of the project that reads a pickle."""

from __future__ import annotations

import pickle
import re
import shutil
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from spar_engine.config import read_config
from spar_engine.config.write import write_checkpoint_config
from spar_engine.errors import CheckpointError, MissingDependency
from spar_engine.weights import Checkpoint, write_safetensors
from spar_engine.weights.names import normalise
from spar_engine.weights.schema import ignored
from spar_engine.weights.writer import new_directory

if TYPE_CHECKING:
    import torch

TEXT_FILES = (
    "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "vocab.json",
    "merges.txt", "generation_config.json",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Converted:
    """What was written where."""

    directory: Path
    tensors: int
    bytes: int
    left_out: tuple[str, ...]  # training-only tensors


def convert(source: str | Path, out: str | Path, *, config: str | Path | None = None,
            progress: Callable[[int, int], None] | None = None) -> Converted:  # fmt: skip
    """Write the tensors of a flat `.pth` or `.bin` state dict as safetensors under canonical names, with a config.json.

    source    an image tokenizer (spec 7.4) or a whole model, saved by torch.save as one flat dict of tensors
    out       directory to make; it must not exist, or be empty
    config    checkpoint directory whose config.json, sub-models and text tokenizer belong to the tensors; None takes
              the directory of `source` if it has a config.json, else the published model of the same geometry
    progress  called with (tensors written, tensors in all)
    errors    CheckpointError for a file that is missing, damaged, nested, or holds code; ConfigError when the geometry
              is not that of `config` or of a published model. Nothing is left in `out` then
    """
    source = Path(source)
    tensors = _load(source)
    found = normalise(tensors, str(source))
    left_out = tuple(sorted(name for name in found if ignored(name)))
    kept = {name: [tensors[piece] for piece in pieces] for name, pieces in found.items() if name not in left_out}
    if config is None and (source.parent / "config.json").is_file():
        config = source.parent
    items = [_item(source, name, pieces) for name, pieces in kept.items()]
    shapes = {name: shape for name, _, shape, _ in items}
    model = read_config(config, shapes)
    with new_directory(out) as aside:
        write_checkpoint_config(aside, model)
        for name in TEXT_FILES:
            if config is not None and (Path(config) / name).is_file():
                shutil.copyfile(Path(config) / name, aside / name)
        write_safetensors(aside / "model.safetensors", _counted(items, progress), {"format": "pt"})
        try:
            checkpoint = Checkpoint.open(aside)
        except CheckpointError as error:
            raise CheckpointError(str(error).replace(str(aside), str(source))) from None
    return Converted(Path(out), len(items), sum(checkpoint.memory().values()), left_out)


def _load(source: Path) -> dict[str, torch.Tensor]:
    """The state dict, its tensors mapped from the file where the format allows; no code of the file runs."""
    try:
        import torch
    except ImportError:
        raise MissingDependency("convert needs torch; install it with: pip install 'spar-engine[export]'") from None
    if source.suffix == ".safetensors" or source.is_dir():
        raise CheckpointError(f"{source}: is not a .pth or .bin file; safetensors need no conversion")
    try:
        mapped = zipfile.is_zipfile(source)  # older files are one pickle, which cannot be mapped
        loaded = torch.load(source, map_location="cpu", weights_only=True, mmap=mapped)
    except OSError as error:
        raise CheckpointError(f"{source}: cannot be read ({error.strerror or error}); check the path") from None
    except pickle.UnpicklingError as error:
        named = re.search(r"GLOBAL ([\w.]+)", str(error))
        what = f"holds {named[1]}, which is not a tensor" if named else f"is damaged ({_line(error)})"
        raise CheckpointError(f"{source}: {what}; save it again as a flat dict of tensors") from None
    except (RuntimeError, ValueError, EOFError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise CheckpointError(f"{source}: is not a complete PyTorch file ({_line(error)}); download it again") from None
    return _flat(source, loaded)


def _line(error: Exception) -> str:
    """The first sentence of a message of torch, which can run over many lines."""
    lines = str(error).splitlines()
    return lines[0][:160] if lines else type(error).__name__


def _flat(source: Path, loaded: Any) -> dict[str, torch.Tensor]:
    import torch

    if not isinstance(loaded, dict) or not loaded:
        raise CheckpointError(
            f"{source}: holds a {type(loaded).__name__}, not a dict of tensors; save its state_dict()"
        )
    for name, value in loaded.items():
        if not isinstance(name, str):
            raise CheckpointError(f"{source}: has the key {name!r:.80}; the keys must be tensor names")
        if isinstance(value, dict):
            raise CheckpointError(f"{source}: is nested, {name!r} is a dict of {len(value)}; save that one alone, with "
                                  f"torch.save(torch.load(FILE, weights_only=True)[{name!r}], NEW)")  # fmt: skip
        if not isinstance(value, torch.Tensor):
            raise CheckpointError(f"{source}: {name!r} is a {type(value).__name__}, not a tensor; remove it")
        if value.layout != torch.strided or value.is_quantized or value.device.type != "cpu":
            raise CheckpointError(f"{source}: {name!r} is not a plain tensor in memory; save it dense and unquantized")
    return loaded


def _item(source: Path, name: str, pieces: list[torch.Tensor]) -> tuple[str, str, tuple[int, ...], Callable]:
    """The pieces stacked along the first axis, as an entry for the writer; they are read when their turn comes."""
    import torch

    types = {
        torch.float64: ("F64", torch.float64), torch.float32: ("F32", torch.float32),
        torch.float16: ("F16", torch.float16), torch.bfloat16: ("BF16", torch.uint16),
        torch.float8_e4m3fn: ("F8_E4M3", torch.uint8), torch.float8_e5m2: ("F8_E5M2", torch.uint8),
    }  # fmt: skip
    first = pieces[0]
    if first.dtype not in types:
        raise CheckpointError(f"{source}: `{name}` is {first.dtype}; a parameter must be of a float type")
    if len(pieces) > 1 and any(not p.dim() or p.dtype != first.dtype or p.shape[1:] != first.shape[1:] for p in pieces):
        raise CheckpointError(f"{source}: the parts of `{name}` do not fit together: {[list(p.shape) for p in pieces]}")
    label, bits = types[first.dtype]
    shape = tuple(first.shape) if len(pieces) == 1 else (sum(len(piece) for piece in pieces), *first.shape[1:])

    def read() -> np.ndarray:
        arrays = [piece.detach().contiguous().view(bits).numpy() for piece in pieces]
        return arrays[0] if len(arrays) == 1 else np.concatenate(arrays)

    return name, label, shape, read


def _counted(items: list, progress: Callable[[int, int], None] | None) -> list:
    """The items, each reporting to `progress` when it is taken."""
    if progress is None:
        return items
    done, total = 0, len(items)

    def counted(get: Callable) -> Callable:
        def call() -> np.ndarray:
            nonlocal done
            array = get()
            done += 1
            progress(done, total)
            return array

        return call

    return [(name, dtype, shape, counted(get)) for name, dtype, shape, get in items]
