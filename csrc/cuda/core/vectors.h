// Eight neighbouring elements of a row as float32, from memory and back in 16-byte accesses.
#pragma once

#include "core/device.h"

namespace spar::cuda {

__device__ __forceinline__ float widen(uint16_t bits) { return __uint_as_float(static_cast<uint32_t>(bits) << 16); }
__device__ __forceinline__ float first_of(uint32_t pair) { return __uint_as_float(pair << 16); }
__device__ __forceinline__ float second_of(uint32_t pair) { return __uint_as_float(pair & 0xffff0000u); }
__device__ __forceinline__ uint16_t narrow(float x) { return static_cast<uint16_t>(narrow(x, 0.0f)); }

__device__ __forceinline__ float load_one(const float* from) { return *from; }
__device__ __forceinline__ float load_one(const uint16_t* from) { return widen(*from); }

__device__ __forceinline__ void load_eight(float (&to)[8], const uint16_t* from) {
  const uint4 raw = *reinterpret_cast<const uint4*>(from);
  to[0] = first_of(raw.x), to[1] = second_of(raw.x), to[2] = first_of(raw.y), to[3] = second_of(raw.y);
  to[4] = first_of(raw.z), to[5] = second_of(raw.z), to[6] = first_of(raw.w), to[7] = second_of(raw.w);
}

__device__ __forceinline__ void load_eight(float (&to)[8], const float* from) {
  const float4 low = reinterpret_cast<const float4*>(from)[0], high = reinterpret_cast<const float4*>(from)[1];
  to[0] = low.x, to[1] = low.y, to[2] = low.z, to[3] = low.w;
  to[4] = high.x, to[5] = high.y, to[6] = high.z, to[7] = high.w;
}

__device__ __forceinline__ void store_eight(uint16_t* to, const float (&x)[8]) {
  *reinterpret_cast<uint4*>(to) = make_uint4(narrow(x[0], x[1]), narrow(x[2], x[3]), narrow(x[4], x[5]), narrow(x[6], x[7]));
}

__device__ __forceinline__ void store_eight(float* to, const float (&x)[8]) {
  reinterpret_cast<float4*>(to)[0] = make_float4(x[0], x[1], x[2], x[3]);
  reinterpret_cast<float4*>(to)[1] = make_float4(x[4], x[5], x[6], x[7]);
}

// Sum over the warp, in the same order in every lane.
__device__ __forceinline__ float warp_sum(float x) {
#pragma unroll
  for (int distance = 16; distance > 0; distance /= 2) x += __shfl_xor_sync(0xffffffffu, x, distance);
  return x;
}

__device__ __forceinline__ float warp_max(float x) {
#pragma unroll
  for (int distance = 16; distance > 0; distance /= 2) x = fmaxf(x, __shfl_xor_sync(0xffffffffu, x, distance));
  return x;
}

}  // namespace spar::cuda
