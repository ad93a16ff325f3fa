// Eight tile registers of 16 rows x 64 bytes: 0-3 hold sums, 4 and 5 rows of A, 6 and 7 packed weights.
// With SPAR_EMULATED_TILES they are memory, for tests on processors without AMX.
#pragma once

#include <cstdint>
#include <cstring>

#if !defined(SPAR_EMULATED_TILES)
#include <immintrin.h>
#endif

#include "core/types.h"

namespace spar::cpu::ENGINE_ISA::tiles {

constexpr int64_t kRows = 16, kBytes = 64;

#if defined(SPAR_EMULATED_TILES)

struct Tile {
  alignas(64) unsigned char row[kRows][kBytes];
};
inline thread_local Tile registers[8];

inline void configure() { std::memset(registers, 0, sizeof registers); }
inline void release() {}
inline void zero(int t) { std::memset(&registers[t], 0, sizeof(Tile)); }
inline void load(int t, const void* from, int64_t stride) {
  for (int64_t r = 0; r < kRows; ++r) std::memcpy(registers[t].row[r], static_cast<const char*>(from) + r * stride, kBytes);
}
inline void store(int t, void* to, int64_t stride) {
  for (int64_t r = 0; r < kRows; ++r) std::memcpy(static_cast<char*>(to) + r * stride, registers[t].row[r], kBytes);
}
template <class T>
inline T element(int t, int64_t row, int64_t index) {
  T value;
  std::memcpy(&value, registers[t].row[row] + index * static_cast<int64_t>(sizeof(T)), sizeof(T));
  return value;
}
template <class T>
inline void add(int t, int64_t row, int64_t index, T value) {
  value += element<T>(t, row, index);
  std::memcpy(registers[t].row[row] + index * 4, &value, 4);
}
// TDPBF16PS: even and odd products are summed apart, then added to the sums.
inline void dot(bf16, int c, int a, int b) {
  for (int64_t m = 0; m < kRows; ++m)
    for (int64_t n = 0; n < 16; ++n) {
      float even = 0.0f, odd = 0.0f;
      for (int64_t k = 0; k < 16; ++k) {
        even += to_f32(element<bf16>(a, m, 2 * k)) * to_f32(element<bf16>(b, k, 2 * n));
        odd += to_f32(element<bf16>(a, m, 2 * k + 1)) * to_f32(element<bf16>(b, k, 2 * n + 1));
      }
      add(c, m, n, even + odd);
    }
}
// TDPBUSD: unsigned A, signed weights, exact.
inline void dot(uint8_t, int c, int a, int b) {
  for (int64_t m = 0; m < kRows; ++m)
    for (int64_t n = 0; n < 16; ++n) {
      int32_t total = 0;
      for (int64_t k = 0; k < 64; ++k)
        total += element<uint8_t>(a, m, k) * element<int8_t>(b, k / 4, 4 * n + k % 4);
      add(c, m, n, total);
    }
}
// The kernel's inner loop names its registers; here they are numbers.
#define SPAR_TILE_ZERO(t) zero(t)
#define SPAR_TILE_LOAD(t, from, stride) load(t, from, stride)
#define SPAR_TILE_STORE(t, to, stride) store(t, to, stride)
#define SPAR_TILE_DOT(T, c, a, b) dot(T{}, c, a, b)

#else

struct alignas(64) Config {
  uint8_t palette = 1, start = 0, reserved[14] = {};
  uint16_t bytes[16] = {};
  uint8_t rows[16] = {};
};

inline void configure() {
  Config config;
  for (int t = 0; t < 8; ++t) {
    config.bytes[t] = kBytes;
    config.rows[t] = kRows;
  }
  _tile_loadconfig(&config);
}
inline void release() { _tile_release(); }
// The instructions take the register's number as part of their name, so these stay macros.
#define SPAR_TILE_ZERO(t) _tile_zero(t)
#define SPAR_TILE_LOAD(t, from, stride) _tile_loadd(t, from, stride)
#define SPAR_TILE_STORE(t, to, stride) _tile_stored(t, to, stride)
#define SPAR_TILE_DOT(T, c, a, b)                 \
  do {                                            \
    if constexpr (sizeof(T) == 2) {               \
      _tile_dpbf16ps(c, a, b);                    \
    } else {                                      \
      _tile_dpbusd(c, a, b);                      \
    }                                             \
  } while (false)

#endif

}  // namespace spar::cpu::ENGINE_ISA::tiles
