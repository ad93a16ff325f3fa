"""Triton twins of the fused GPU ops: kernels only; `spar_engine.ops.launches` says how they are launched.

Importing a kernel needs Triton. The engine at run time does not: it loads cubins that `spar_export.triton_aot` made.
Every kernel takes `WIDE`: True upcasts operands to float32 before a product (float32 data, and Triton's interpreter,
whose products of bfloat16 are wrong); False feeds the tensor cores with bfloat16. Sums are float32 either way, and no
sum is split over programs that race: results are the same bits from run to run.
"""
