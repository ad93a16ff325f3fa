// Element types and views of row-major matrices.
#pragma once

#include <cmath>
#include <cstdint>

// Helpers that files of several instruction sets share must leave no out-of-line copy: the linker would keep any one.
#define SPAR_INLINE [[gnu::always_inline]] inline

namespace spar::cpu {

struct bf16 {
  uint16_t bits;
};

enum class Type : uint8_t {
  f32,
  bf16,
  u8,  // int8 activations for int8 weights, stored with 128 added: what the dot-product instructions want on the left
  s8,  // int8 weights; int8 activations for 4-bit weights
  s4,  // 4-bit weights in groups with a scale each; only ever packed
};

// Bytes of an element in a row; s4 has no rows.
SPAR_INLINE constexpr int64_t size_of(Type type) { return type == Type::f32 ? 4 : type == Type::bf16 ? 2 : 1; }

// Elements that share one 32-bit lane of a packed panel.
SPAR_INLINE constexpr int64_t per_lane(Type type) { return type == Type::s4 ? 8 : 4 / size_of(type); }

SPAR_INLINE float to_f32(bf16 x) { return __builtin_bit_cast(float, static_cast<uint32_t>(x.bits) << 16); }

// Round to nearest even; NaN stays NaN.
SPAR_INLINE bf16 to_bf16(float x) {
  const uint32_t bits = __builtin_bit_cast(uint32_t, x);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return {static_cast<uint16_t>((bits >> 16) | 0x40u)};
  return {static_cast<uint16_t>((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16)};
}

SPAR_INLINE float half_to_f32(uint16_t half) {
  const uint32_t sign = static_cast<uint32_t>(half & 0x8000u) << 16;
  const uint32_t exponent = (half >> 10) & 31u, fraction = half & 1023u;
  if (exponent == 31) return __builtin_bit_cast(float, sign | 0x7f800000u | (fraction << 13));
  if (exponent) return __builtin_bit_cast(float, sign | ((exponent + 112) << 23) | (fraction << 13));
  const float tiny = std::ldexp(static_cast<float>(fraction), -24);
  return sign ? -tiny : tiny;
}

SPAR_INLINE constexpr int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }
SPAR_INLINE constexpr int64_t round_up(int64_t a, int64_t b) { return ceil_div(a, b) * b; }

SPAR_INLINE constexpr int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }

// A row-major matrix somewhere in memory. `stride` is in elements.
struct View {
  void* data = nullptr;
  Type type = Type::f32;
  int64_t stride = 0;

  template <class T>
  SPAR_INLINE T* row(int64_t index) const {
    return static_cast<T*>(data) + index * stride;
  }
  // The same rows, from column `first` on.
  SPAR_INLINE View columns(int64_t first) const {
    return {static_cast<char*>(data) + first * size_of(type), type, stride};
  }
  SPAR_INLINE View rows(int64_t first) const { return columns(first * stride); }
  SPAR_INLINE explicit operator bool() const { return data != nullptr; }
};

}  // namespace spar::cpu
