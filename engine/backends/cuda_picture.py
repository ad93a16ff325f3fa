"""A decoded picture that is still on the device."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from .cuda_values import OnDevice, on


class DevicePicture(OnDevice):
    """[batch, 3, rows, columns] in about [-1, 1]. `as_bytes` clamps, resizes and rounds before anything is copied."""

    def __init__(self, tensor: torch.Tensor, ops: Any):
        super().__init__(tensor)
        self._ops = ops

    def as_bytes(self, down: tuple[np.ndarray, np.ndarray], across: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
        """[batch, height, width, 3] uint8, as `image.postprocess.pictures` gives it.

        down, across  lower sample and the next one's weight for every row and column
        """

        def up(low: np.ndarray, weight: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
            tensors = torch.from_numpy(low.astype(np.int32)), torch.from_numpy(weight.astype(np.float32))
            return tuple(tensor.to(self.tensor.device) for tensor in tensors)

        with on(self.tensor.device), torch.inference_mode():
            return self._ops.clamp_resize_uint8(self.tensor, up(*down), up(*across)).contiguous().cpu().numpy()
