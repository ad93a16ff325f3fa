// The end of a branch of a block, and the norm that begins the next one in the same pass.
//
//   x      [batch, tokens, width]  f32 or bf16   the residual stream
//   y      [batch, tokens, width]  bf16          what the branch computed
//   gate   [batch, width]          f32           rows are gate_stride elements apart, 0: one for all; null: 1
//   out    [batch, tokens, width]  as x          x + gate * y; may be x
//   normed [batch, tokens, width]  bf16          layer_norm_modulate of `out` as stored; null: not wanted
//   normed_scales [batch, tokens]  f32           null: not wanted; else `normed` is e4m3 with these, see quantize_rows.h
//   shift, scale, eps                            of that norm, see layer_norm_modulate.h
//
// Error and oracle: engine/oracle/gate_residual.py.
#pragma once

#include <cstdint>

#include "engine/real.h"

namespace spar {

struct GateResidual {
  Reals x;
  const uint16_t* y;  // bf16 bits
  const float* gate;
  void* out;
  void* normed;  // bf16 bits, or e4m3 bits
  float* normed_scales;
  const float *shift, *scale;
  float eps;
  int64_t batch, tokens, width, gate_stride, shift_stride, scale_stride;
};

}  // namespace spar
