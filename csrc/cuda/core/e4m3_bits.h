// float32 to float8 (e4m3) in integer arithmetic, for GPUs before sm_89 and for the emulation. Included by device.h, which
// has the instruction for the others.
#pragma once

namespace spar::cuda {

// Nearest, ties to even; what is beyond 448, infinity too, becomes 448, NaN stays NaN.
__device__ __forceinline__ uint32_t e4m3_bits(float x) {
  const uint32_t bits = __float_as_uint(x), size = bits & 0x7fffffffu;
  if (size > 0x7f800000u) return 0x7fu;
  uint32_t code;
  if (size < 0x3c800000u)  // below 2^-6 the numbers are 2^-9 apart, as floats from 2^14 on are
    code = __float_as_uint(__fadd_rn(__uint_as_float(size), 16384.0f)) - 0x46800000u;
  else  // 20 bits of mantissa go; the exponent's bias is 7 in place of 127
    code = ((size + 0x7ffffu + (size >> 20 & 1u)) >> 20) - 120u * 8u;
  return (code < 0x7eu ? code : 0x7eu) | (bits >> 24 & 0x80u);
}

}  // namespace spar::cuda
