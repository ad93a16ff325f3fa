// Rows in float8 (e4m3: 4 bits of exponent, 3 of mantissa, no infinity), each with a scale, as products in 8 bits take them.
//
//   x       [rows, width]  f32 or bf16
//   values  [rows, width]  e4m3 bits   x / scale, nearest even, at most 448 in size; NaN stays NaN
//   scales  [rows]         f32         the row's largest |x| / 448; NaN does not count, rows below 2^-100 count as 2^-100
//
// An infinity makes its row's scale infinite and itself NaN: whatever is multiplied with that row is NaN.
// Error and oracle: engine/oracle/quantize_rows.py.
#pragma once

#include <cstdint>

#include "engine/real.h"

namespace spar {

inline constexpr float kLargestE4m3 = 448, kLeastRow = 0x1p-100f;

struct QuantizeRows {
  Reals x;
  uint8_t* values;
  float* scales;
  int64_t rows, width;
};

}  // namespace spar
