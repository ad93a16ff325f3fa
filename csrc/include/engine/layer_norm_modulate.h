// LayerNorm without weights, then the scale and shift of the timestep.
//
//   x      [batch, tokens, width]  f32 or bf16
//   shift  [batch, width]          f32   rows are shift_stride elements apart; 0: one row for all
//   scale  [batch, width]          f32   likewise
//   out    [batch, tokens, width]  bf16  (x - mean) / sqrt(variance + eps) * (1 + scale) + shift
//   out_scales  [batch, tokens]    f32   null: not wanted; else `out` is e4m3 with these scales, see quantize_rows.h
//
// Mean and variance are float32, the variance from centred values.
// Error and oracle: engine/oracle/layer_norm_modulate.py.
#pragma once

#include <cstdint>

#include "engine/real.h"

namespace spar {

struct LayerNormModulate {
  Reals x;
  const float *shift, *scale;
  float eps;
  void* out;  // bf16 bits, or e4m3 bits
  float* out_scales;
  int64_t batch, tokens, width, shift_stride, scale_stride;
};

}  // namespace spar
