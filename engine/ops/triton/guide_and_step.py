"""Classifier-free guidance and one step of the solver (spec 6)."""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def guide_and_step(
    velocity, guidance, table, latent, data, out, model_input, step, size, branch_size,
    BRANCHES: tl.constexpr, ROUNDED: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """out = a * latent + b * new + c * data, new = latent - sigma * velocity; then data = new.

    velocity           [BRANCHES, images, size], entries of a branch_size; of two branches the unconditional is first
    guidance           [images] float32; not read for one branch
    table              [steps, 4] float32: sigma, a, b, c
    latent, out, data  [images, size] float32; `out` may be `latent`; `data` is not read where c is 0
    model_input        [images, size]: `out` in the model's type, where ROUNDED
    """
    image = tl.program_id(1)
    inside = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    live = inside < size
    place = image * size + inside
    row = table + step * 4
    sigma, a, b, c = tl.load(row), tl.load(row + 1), tl.load(row + 2), tl.load(row + 3)
    guided = tl.load(velocity + place, mask=live, other=0.0).to(tl.float32)
    if BRANCHES == 2:
        conditional = tl.load(velocity + branch_size + place, mask=live, other=0.0).to(tl.float32)
        guided += tl.load(guidance + image) * (conditional - guided)
    old = tl.load(latent + place, mask=live, other=0.0)
    new = old - sigma * guided
    following = a * old + b * new
    if c != 0:
        following += c * tl.load(data + place, mask=live, other=0.0)
    tl.store(out + place, following, mask=live)
    tl.store(data + place, new, mask=live)
    if ROUNDED:
        tl.store(model_input + place, following.to(model_input.dtype.element_ty), mask=live)
