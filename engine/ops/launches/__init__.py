"""How the Triton kernels are launched: grids, arguments and constants from shapes. Nothing here imports Triton.

A plan turns tensors (torch tensors, or anything with `shape`, `dtype`, `stride()` and `element_size()`) into launches;
`spar_engine.ops.jit` runs them through Triton, `spar_engine.ops.cubins` from cubins that were compiled ahead.
"""
