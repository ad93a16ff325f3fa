"""Errors of the exporter; those a user meets are the engine's (`spar_engine.errors`)."""

from spar_engine.errors import SparError


class LoweringError(SparError):
    """A traced program holds what has no ONNX form here: the modules changed and the exporter does not know it yet."""
