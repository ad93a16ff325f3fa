"""Values that stay on a device between two calls, and what numpy may do with them there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

STAYS = frozenset(("hidden_levels", "keys", "values", "features", "caption", "cross_keys", "cross_values",
                   "modulation", "final_modulation"))  # fmt: skip
"""Outputs that mostly travel from one call to the next."""


class Staying:
    """A tensor at the seam. Its shape and type can be looked at, parts be taken, and `numpy.concatenate` puts it
    together with others and with arrays on its device; any other function of numpy gets an array of it."""

    dtype = np.dtype(np.float32)
    shape: tuple[int, ...]
    nbytes: int  # it never changes

    def __len__(self) -> int:
        return self.shape[0]

    def __array_function__(self, function: Any, types: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if function is np.concatenate:
            return self._concatenated(*args, **kwargs)
        return function(*arrays(args), **arrays(kwargs))

    def _concatenated(self, parts: Sequence[Any], axis: int = 0) -> Staying:
        """One value of all `parts`, arrays among them, where this one is."""
        raise NotImplementedError


def arrays(values: Any) -> Any:
    """A value, or a list or dictionary of them, with arrays for what stays on a device."""
    if isinstance(values, dict):
        return {name: arrays(value) for name, value in values.items()}
    if isinstance(values, (tuple, list)):
        return [arrays(value) for value in values]
    return np.asarray(values) if isinstance(values, Staying) else values
