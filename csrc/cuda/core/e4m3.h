// Eight neighbouring elements of a row as float8 (e4m3).
#pragma once

#include "core/device.h"
#include "engine/quantize_rows.h"

namespace spar::cuda {

// Largest size of eight elements, NaN not counted.
__device__ __forceinline__ float largest_of(const float (&x)[8]) {
  float largest = 0;
#pragma unroll
  for (int j = 0; j < 8; ++j) largest = fmaxf(largest, fabsf(x[j]));
  return largest;
}

// Stores x * factor in eight bytes; `to` is a multiple of 8.
__device__ __forceinline__ void store_e4m3(uint8_t* to, const float (&x)[8], float factor) {
  uint32_t pairs[4];
#pragma unroll
  for (int i = 0; i < 4; ++i) pairs[i] = narrow_e4m3(x[2 * i] * factor, x[2 * i + 1] * factor);
  *reinterpret_cast<uint2*>(to) = make_uint2(pairs[0] | pairs[1] << 16, pairs[2] | pairs[3] << 16);
}

}  // namespace spar::cuda
