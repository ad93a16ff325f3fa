"""The DiT step over fused operators: token-major, few launches, weights prepared once.

`table` says what an operator computes and gives the torch form of each; a backend passes an object with the same
methods that answers with faster ones. `dit` is the step, `linear` its products, in 8 bits where asked for.
"""
