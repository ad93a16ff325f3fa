"""Who imports whom: every import statement of the package, at whatever depth, against the order of docs/design.md."""

import ast
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

# A layer may import its own members and the layers before it. The longest name that fits a module places it.
LAYERS = (
    ("errors",),
    ("config", "oracle"),
    ("components", "weights", "ops", "text", "image", "samplers"),
    ("modules",),
    ("backends",),
    ("pipelines",),
    ("requests", "results", "runtime"),
    ("api",),
    ("runtime.assemble",),  # builds what api describes
    ("doctor", "demo", "server"),
    ("cli",),
    ("__init__", "__main__"),  # the package itself: names that load what they name when first asked for
)
RANK = {member: rank for rank, layer in enumerate(LAYERS) for member in layer}
FOREIGN = {"spar_export", "spar_bench", "spar_train", "tests"}
FILES = sorted((ROOT / "engine").rglob("*.py"))
ORACLE_MAY = {"numpy"}


def module_name(path):
    """Dotted name below spar_engine."""
    parts = path.relative_to(ROOT / "engine").with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)


def rank(name):
    """Layer of a dotted name; None when it is in none, as names that `from .. import` takes from the package itself."""
    parts = name.split(".")
    fits = (".".join(parts[:size]) for size in range(len(parts), 0, -1))
    return next((RANK[fit] for fit in fits if fit in RANK), None)


def imports(path):
    """(line, top-level package, dotted rest) of everything that a file imports."""
    inside = ("spar_engine", *path.relative_to(ROOT / "engine").parts[:-1])
    for node in ast.walk(ast.parse(path.read_text(), str(path))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(inside[: len(inside) - node.level + 1]) if node.level else ""
            base = ".".join(part for part in (base, node.module) if part)
            names = [f"{base}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            package, _, rest = name.partition(".")
            yield node.lineno, package, rest


def may_import_torch(path):
    inside = path.relative_to(ROOT / "engine")
    return (
        inside.parts[0] in ("modules", "doctor")
        or (inside.parts[0] == "backends" and inside.name.startswith(("torch", "cuda")))
        or inside.match("ops/torch_ops.py")
        or inside.parts[:2] == ("ops", "triton")
    )


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_go_down_only(path):
    name = module_name(path)
    assert rank(name) is not None, f"{name} is in no layer; docs/design.md and this test say where each belongs"
    for line, package, rest in imports(path):
        where = f"{path.relative_to(ROOT)}:{line}"
        assert package not in FOREIGN, f"{where} imports {package}; the engine imports none of {sorted(FOREIGN)}"
        if package == "torch":
            assert may_import_torch(path), f"{where} imports torch"
        if package == "spar_engine" and rank(rest) is not None:
            assert rank(rest) <= rank(name), f"{where}: {name} imports {rest}, which is above it"
        if name.startswith("oracle") and package != "spar_engine":
            assert package in ORACLE_MAY or package in sys.stdlib_module_names, f"{where}: an oracle imports {package}"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("import torch.nn", [(1, "torch", "nn")]),
        ("from ..api import load", [(1, "spar_engine", "api.load")]),
        ("from .. import api, cli", [(1, "spar_engine", "api"), (1, "spar_engine", "cli")]),
        ("from . import other", [(1, "spar_engine", "config.other")]),
        ("from spar_engine.cli import main", [(1, "spar_engine", "cli.main")]),
        ("def f():\n    import spar_export.x", [(2, "spar_export", "x")]),
    ],
)
def test_every_form_of_import_is_seen(text, found, tmp_path, monkeypatch):
    folder = tmp_path / "engine" / "config"
    folder.mkdir(parents=True)
    (folder / "file.py").write_text(text)
    monkeypatch.setitem(globals(), "ROOT", tmp_path)
    assert list(imports(folder / "file.py")) == found


def test_a_wrong_import_is_caught(tmp_path, monkeypatch):
    folder = tmp_path / "engine" / "config"
    folder.mkdir(parents=True)
    monkeypatch.setitem(globals(), "ROOT", tmp_path)
    for text in ("import torch", "from ..api import Engine", "from .. import cli", "from spar_export import onnx"):
        (folder / "file.py").write_text(text)
        with pytest.raises(AssertionError):
            test_imports_go_down_only(folder / "file.py")
