// Contracts of the kernels that work on rows: norms, int8 quantisation and the mixing of levels.
#pragma once

#include "core/types.h"

namespace spar::cpu {

// out = normed(x) * weight + bias, optionally * (1 + scale) + shift, optionally + residual, optionally ReLU.
//   layer norm   (x - mean) / sqrt(mean((x - mean)^2) + eps)
//   RMS norm     x / sqrt(mean(x^2) + eps)
struct Norm {
  View in;                        // f32 [rows, width]
  View out;                       // f32, bf16, u8 or s8 [rows, width]; may be `in` when f32
  float* out_scale = nullptr;     // u8 and s8: see Quantize
  int32_t* out_offset = nullptr;  // s8
  int64_t width = 0;
  float eps = 0.0f;
  bool centred = true;            // layer norm, else RMS
  bool relu = false;
  const float* weight = nullptr;  // [width]; null: ones
  const float* bias = nullptr;    // [width]; null: zeros
  const float* shift = nullptr;   // [groups, width], with `scale`; row r uses group r / group_rows
  const float* scale = nullptr;
  int64_t group_rows = 0, group_stride = 0;  // group_rows 0: one group
  View residual;                  // f32 [rows, width]
};
using NormRows = void(const Norm&, int64_t first, int64_t rows);

// Rows of f32 or bf16 as 8-bit numbers:
//   u8   around 128; out_scale [rows] is the largest magnitude of the row over 127
//   s8   signed, in groups of 32 columns (gemm.h); out_scale [rows, groups] is the largest magnitude of the group over
//        127, NaN where a value of it is not finite; out_offset [rows, groups] is -8 times the sum of the group.
//        Magnitudes below 1e-36 count as zero
// Zeros follow up to a whole lane of the packed weights.
struct Quantize {
  View in, out;
  float* out_scale = nullptr;
  int32_t* out_offset = nullptr;
  int64_t width = 0;
};
using QuantizeRows = void(const Quantize&, int64_t first, int64_t rows);

// weights = softmax(weights / temperature), in place; out = sum over k of weights[k] * scales[k] * level k.
struct Mix {
  View levels;             // f32 or bf16 [depth * level_rows, width], level after level
  int64_t level_rows = 0;  // rows of one level
  View weights;            // f32 [rows, depth]
  View out;                // f32 [rows, width]
  const float* scales = nullptr;  // [depth]
  int64_t depth = 0, width = 0;
  float temperature = 1.0f;
};
using MixRows = void(const Mix&, int64_t first, int64_t rows);

}  // namespace spar::cpu
