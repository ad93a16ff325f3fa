// The names of csrc/cuda/core/device.h for a host compiler: CUDA's own, and scalar twins of the tensor-core and copy
// instructions. Included in place of CUDA's headers by files that are otherwise the same.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

#include "cuda_emulation/machine.h"

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __syncthreads() ::spar::emulation::block_barrier(__FILE__, __LINE__)
#define __syncwarp() ::spar::emulation::warp_barrier(__FILE__, __LINE__)

struct alignas(8) float2 {
  float x, y;
};
struct alignas(16) float4 {
  float x, y, z, w;
};
struct alignas(8) uint2 {
  uint32_t x, y;
};
struct alignas(16) uint4 {
  uint32_t x, y, z, w;
};
inline float2 make_float2(float x, float y) { return {x, y}; }
inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }
inline uint2 make_uint2(uint32_t x, uint32_t y) { return {x, y}; }
inline uint4 make_uint4(uint32_t x, uint32_t y, uint32_t z, uint32_t w) { return {x, y, z, w}; }

inline float __uint_as_float(uint32_t x) { return __builtin_bit_cast(float, x); }
inline uint32_t __float_as_uint(float x) { return __builtin_bit_cast(uint32_t, x); }
inline float __expf(float x) { return std::exp(x); }
inline float __fdividef(float x, float y) { return x / y; }
inline float __fmul_rn(float x, float y) { return x * y; }
inline float __fadd_rn(float x, float y) { return x + y; }
inline float rsqrtf(float x) { return 1 / std::sqrt(x); }

#include "core/e4m3_bits.h"

// Only whole warps exchange values.
inline float shuffle(uint32_t mask, float value, int source, const char* file, int line) {
  const unsigned char* slots = spar::emulation::exchange(&value, sizeof value, file, line);
  if (mask != 0xffffffffu) std::memset(&value, 0xff, sizeof value);  // not emulated: give what nobody can use
  else std::memcpy(&value, slots + source % 32 * spar::emulation::kSlot, sizeof value);
  return value;
}
#define __shfl_sync(mask, value, source) shuffle(mask, value, source, __FILE__, __LINE__)
#define __shfl_xor_sync(mask, value, bits) \
  shuffle(mask, value, ::spar::emulation::lane() ^ (bits), __FILE__, __LINE__)

namespace spar::cuda {

using Stream = void*;

template <class T>
T* shared_memory() {
  return static_cast<T*>(emulation::shared_memory());
}

inline void cluster_arrive() { emulation::cluster_arrive(); }
#define cluster_wait() ::spar::emulation::cluster_barrier(__FILE__, __LINE__)
template <class T>
const T* in_block(const T* shared, unsigned rank) {
  return static_cast<const T*>(emulation::in_block(shared, rank));
}

inline void copy_async(void* shared, const void* global, bool valid) { emulation::copy_later(shared, global, valid); }
inline void copy_commit() { emulation::close_copies(); }
template <int pending>
void copy_wait() {
  emulation::finish_copies(pending);
}

inline void matrices(uint32_t (&to)[4], const void* row, bool transposed) {
  const unsigned char* slots = emulation::exchange(&row, sizeof row, __FILE__, __LINE__);
  const int lane = emulation::lane();
  for (int i = 0; i < 4; ++i) {
    uint16_t pair[2];
    for (int j = 0; j < 2; ++j) {
      const int line = transposed ? lane % 4 * 2 + j : lane / 4, element = transposed ? lane / 4 : lane % 4 * 2 + j;
      const uint16_t* from;
      std::memcpy(&from, slots + (8 * i + line) * emulation::kSlot, sizeof from);
      pair[j] = from[element];
    }
    std::memcpy(&to[i], pair, sizeof pair);
  }
  // Nobody overwrites what another lane has still to read: the instruction ends for all lanes at once.
  emulation::warp_barrier(__FILE__, __LINE__);
}
inline void load_matrices(uint32_t (&to)[4], const void* row) { matrices(to, row, false); }
inline void load_matrices_transposed(uint32_t (&to)[4], const void* row) { matrices(to, row, true); }

inline float half_of(uint32_t pair, int index) { return __uint_as_float(index ? pair & 0xffff0000u : pair << 16); }

inline void multiply_add(float (&sums)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  const uint32_t bring[6] = {a[0], a[1], a[2], a[3], b0, b1};
  const unsigned char* slots = emulation::exchange(bring, sizeof bring, __FILE__, __LINE__);
  const int g = emulation::lane() / 4, t = emulation::lane() % 4;
  const auto piece = [&](int lane) { return reinterpret_cast<const uint32_t*>(slots + lane * emulation::kSlot); };
  for (int i = 0; i < 4; ++i) {
    const int high = i / 2, column = 2 * t + i % 2;
    for (int k = 0; k < 16; ++k) {
      const int owner = k % 8 / 2, later = k / 8, half = k % 2;
      sums[i] = std::fma(half_of(piece(4 * g + owner)[high + 2 * later], half),
                         half_of(piece(4 * column + owner)[4 + later], half), sums[i]);
    }
  }
}

inline uint32_t to_bf16(float x) {
  const uint32_t bits = __float_as_uint(x);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return 0x7fffu;  // the NaN that the hardware gives
  return (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
}
inline uint32_t narrow(float low, float high) { return to_bf16(low) | to_bf16(high) << 16; }

inline uint32_t narrow_e4m3(float low, float high) { return e4m3_bits(low) | e4m3_bits(high) << 8; }

inline uint32_t relu(uint32_t pair) {
  uint32_t result = 0;
  for (int i = 0; i < 2; ++i) {
    const uint32_t half = pair >> (16 * i) & 0xffffu;
    const uint32_t kept = (half & 0x7fffu) > 0x7f80u ? 0x7fffu : half & 0x8000u ? 0u : half;
    result |= kept << (16 * i);
  }
  return result;
}

template <class... Parameters, class... Arguments>
void launch(const char* op, void (*kernel)(Parameters...), dim3 grid, dim3 block, size_t shared, Stream,
            Arguments... arguments) {
  emulation::run(op, grid, block, shared, [=] { kernel(Parameters(arguments)...); });
}

template <class... Parameters, class... Arguments>
bool launch_clusters(const char* op, void (*kernel)(Parameters...), dim3 grid, dim3 block, size_t shared, Stream,
                     Arguments... arguments) {
  if (grid.x > emulation::most_in_cluster()) return false;
  emulation::run(op, grid, block, shared, [=] { kernel(Parameters(arguments)...); }, grid.x);
  return true;
}

}  // namespace spar::cuda
