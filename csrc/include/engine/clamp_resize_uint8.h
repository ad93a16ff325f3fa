// The decoder's floats to a picture.
//
//   image [batch, 3, rows, columns]   f32 or bf16   nominally -1 to 1; any strides
//   out   [batch, height, width, 3]   uint8         clamp, (x + 1) / 2, bilinear, * 255, round half to even
//
// Bilinear with half-pixel centres and without antialiasing; places and weights are exact rationals, rounded once.
// Error and oracle: engine/oracle/clamp_resize_uint8.py.
#pragma once

#include <cstdint>

#include "engine/real.h"

namespace spar {

struct ClampResizeUint8 {
  Reals image;
  int64_t batch_stride, channel_stride, row_stride, column_stride;  // in elements
  uint8_t* out;
  int64_t batch, rows, columns, height, width;
};

}  // namespace spar
