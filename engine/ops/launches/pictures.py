"""Launches of the sampler's arithmetic and of the picture path."""

from __future__ import annotations

from typing import Any

from .launch import Launch, dense, divided, tuning


def guide_and_step(
    velocity: Any, guidance: Any, table: Any, latent: Any, data: Any, out: Any, *, step: int, model_input: Any = None,
    wide: bool = False, arch: int = 80,
) -> list[Launch]:  # fmt: skip
    """velocity [branches, images, size]; latent, data, out, model_input [images, size]; table [steps, 4]."""
    op = "guide_and_step"
    dense(op, velocity=velocity, table=table, latent=latent, data=data, out=out, model_input=model_input)
    images, size = latent.shape
    if 0 in latent.shape:
        return []
    chosen = tuning(op, arch)
    return [Launch(
        op, op, (divided(size, chosen["block"]), images),
        {"velocity": velocity, "guidance": guidance, "table": table, "latent": latent, "data": data, "out": out,
         "model_input": model_input},
        {"step": step, "size": size, "branch_size": images * size},
        {"BRANCHES": velocity.shape[0], "ROUNDED": model_input is not None, "BLOCK": chosen["block"]},
        chosen["warps"], 1,
    )]  # fmt: skip


def clamp_resize_uint8(
    image: Any, row_low: Any, row_weight: Any, column_low: Any, column_weight: Any, out: Any, *, wide: bool = False,
    arch: int = 80,
) -> list[Launch]:  # fmt: skip
    """image [batch, channels, rows, columns] of any strides; out [batch, height, width, channels] uint8.

    row_low, column_low        int32: the lower sample of every place
    row_weight, column_weight  float32: what the sample after it weighs
    """
    op = "clamp_resize_uint8"
    dense(op, out=out)
    batch, height, width, channels = out.shape
    if 0 in out.shape:
        return []
    chosen = tuning(op, arch)
    names = ("batch_step", "channel_step", "row_step", "column_step")
    return [Launch(
        op, op, (divided(height * width, chosen["block"]), batch),
        {"image": image, "row_low": row_low, "row_weight": row_weight, "column_low": column_low,
         "column_weight": column_weight, "out": out},
        {"rows": image.shape[2], "columns": image.shape[3], "height": height, "width": width}
        | dict(zip(names, image.stride(), strict=True)),
        {"CHANNELS": channels, "BLOCK": chosen["block"]}, chosen["warps"], 1,
    )]  # fmt: skip
