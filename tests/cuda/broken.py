"""Ways to break the CUDA kernels: op -> name -> the one place of its source, and what stands there instead."""

from __future__ import annotations

LAST_BARRIER = "    __syncthreads();  // the next fetch overwrites this stage\n"
NEXT_HEAD = "(head + 1) % args.heads"

BROKEN: dict[str, dict[str, tuple[str, str]]] = {
    "dynamic_token_routing": {
        "stage still read": (LAST_BARRIER, ""),
        "copy not awaited": ("copy_wait<kStages - 2>();", "copy_wait<kStages - 1>();"),
        "tail of the tokens": ("      if (token < args.tokens)\n", ""),
        "level of another place": ("level + k *", "level + (k + 1) % args.depth *"),
        "last slice lost": ("slice < slices;", "slice < slices - 1;"),
        "poison behind the row": ("column < stride_of(args.width);", "column < args.width;"),
    },
    "relu_linear_attention": {
        "missing barrier": ("shared.partial[warp_id()]);\n    __syncthreads();", "shared.partial[warp_id()]);"),
        "states over inputs": (
            "      __syncthreads();  // nobody reads what the next fetch, or the states, overwrite\n",
            "",
        ),
        "stage not awaited": ("      else\n        copy_wait<1>();", "      else\n        copy_wait<2>();"),
        "queries of the stage before": ("      if (stage >= kStages) copy_wait<1>();\n", ""),
        "keys of another head": ("head * strides.head", f"(array == args.key ? {NEXT_HEAD} : head) * strides.head"),
        "state in 16 bits": ("part = 2; part", "part = 0; part"),
        "last span lost": ("other < gridDim.x;", "other + 1 < gridDim.x;"),
        "span of the block itself": ("in_block(&shared.partial[0], other)", "(&shared.partial[0])"),
        "states not awaited": ("    cluster_arrive();\n    cluster_wait();  // every block's state is there\n", ""),
        "half a cluster barrier": ("    cluster_wait();  // every block's state is there\n", ""),
        "states gone while read": (
            "  if constexpr (part == Part::cluster) cluster_arrive();  // no other block's state is read any more\n",
            "  if constexpr (part == Part::cluster) return;\n",
        ),
        "ends while read": (
            "  if constexpr (part == Part::cluster) cluster_wait();  // nobody ends while another reads its state\n",
            "",
        ),
        "no relu on keys": ("keys[r] = relu(keys[r])", "keys[r] = keys[r]"),
    },
    "cross_attention": {
        "tail mask off by one": ("% 2 >= valid)", "% 2 > valid)"),
        "values beyond the length": (
            "args.values_strides.token, length - key,",
            "args.values_strides.token, args.keys_count - key,",
        ),
        "keys of another head": ("head * strides.head", f"(array == args.keys ? {NEXT_HEAD} : head) * strides.head"),
        "no rescaling": ("*= shrink[i / 2]", "*= 1"),
        "stage still read": (LAST_BARRIER, ""),
        "second half of the keys lost": (" + shared.other[4 + n * 4 + i][column] * add", ""),
        "halves not joined in time": ("= out[n][i];\n  }\n  __syncthreads();", "= out[n][i];\n  }"),
        "head not padded": ("args.keys_strides.token, length - key, args.head_dim", "args.keys_strides.token, 64, dim"),
    },
    "layer_norm_modulate": {
        "shift of another entry": ("entry * args.shift_stride", "(entry + 1) % args.batch * args.shift_stride"),
        "half a row": ("args.width / 8", "args.width / 16"),
        "tail of the rows": ("if (index >= args.batch * args.tokens)", "if (index > args.batch * args.tokens)"),
    },
    "quantize_rows": {
        "missing barrier": ("  __syncthreads();\n", ""),
        "last warp's largest lost": ("warp < kWarps;", "warp < kWarps - 1;"),
        "scale of another row": ("args.scales[row]", "args.scales[args.rows - 1 - row]"),
        "half a row": ("args.width / 8", "args.width / 16"),
        "zeros divided by": ("largest = kLeastRow;", "largest = 0;"),
    },
    "gate_residual": {
        "scales of another row": ("store(row, index, args.normed", "store(row, index ^ 1, args.normed"),
        "norm of what is not stored": ("x[j] = widen(narrow(x[j]))", "x[j] *= 1.002f"),
        "gate forgotten": ("if (args.gate != nullptr)", "if (false)"),
    },
    "glumbconv_core": {
        "missing barrier": ("  __syncthreads();\n", ""),
        "divergent barrier": ("  __syncthreads();\n", "  if (threadIdx.x < 64) __syncthreads();\n"),
        "halves swapped": ("value[row][j] * silu(gate[row][j])", "gate[row][j] * silu(value[row][j])"),
        "no right rim": ("column < args.columns &&", "column + 1 < args.columns &&"),
    },
    "guide_and_step": {
        "branches swapped": ("__fadd_rn(conditional, -v)", "__fadd_rn(v, -conditional)"),
        "data read before there is any": ("if (c != 0) ", ""),
    },
    "clamp_resize_uint8": {
        "half a pixel aside": ("(2u * index + 1u) * size", "2u * index * size"),
        "truncated": ("rintf(", "truncf("),
    },
}  # fmt: skip
