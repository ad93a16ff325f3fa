// What lies between the two 1x1 convolutions of GLUMBConv: SiLU, depthwise 3x3, gate.
//
//   x      [batch, rows, columns, 2 * hidden]  bf16   result of the first 1x1 convolution, bias included
//   weight [9, 2 * hidden]                     bf16   tap 3 * row + column of the depthwise kernel
//   bias   [2 * hidden]                        f32
//   out    [batch, rows, columns, hidden]      bf16   a * SiLU(g); (a, g) = halves of conv3x3(SiLU(x)), padded by zeros
//
// SiLU(x) is rounded to bf16, everything after it is float32. Error and oracle: engine/oracle/glumbconv_core.py.
#pragma once

#include <cstdint>

namespace spar {

struct GlumbconvCore {
  const uint16_t *x, *weight;  // bf16 bits
  const float* bias;
  uint16_t* out;  // bf16 bits
  int64_t batch, rows, columns, hidden;
};

}  // namespace spar
