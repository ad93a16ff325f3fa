// Vectors of floats, as wide as the instruction set this file is compiled for. Included by kernels_<isa>.cpp only;
// everything lives in the namespace ENGINE_ISA, so that no inline function of one instruction set replaces another's.
#pragma once

#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"  // false alarms inside the intrinsics of gcc 12
#pragma GCC diagnostic ignored "-Wuninitialized"
#endif
#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include <cstring>

#include "core/types.h"

namespace spar::cpu::ENGINE_ISA {

#if defined(__AVX512F__)

constexpr int kLanes = 16;

struct F32 {
  __m512 v;
};
struct I32 {
  __m512i v;
};

inline __mmask16 first_lanes(int64_t n) { return static_cast<__mmask16>((1u << n) - 1u); }
inline F32 set1(float x) { return {_mm512_set1_ps(x)}; }
inline F32 zero() { return {_mm512_setzero_ps()}; }
inline F32 load(const float* p) { return {_mm512_loadu_ps(p)}; }
inline F32 load_n(const float* p, int64_t n) { return {_mm512_maskz_loadu_ps(first_lanes(n), p)}; }
inline F32 widen(__m256i x) { return {_mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(x), 16))}; }
inline F32 load(const bf16* p) { return widen(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p))); }
inline F32 load_n(const bf16* p, int64_t n) { return widen(_mm256_maskz_loadu_epi16(first_lanes(n), p)); }
inline void store(float* p, F32 x) { _mm512_storeu_ps(p, x.v); }
inline void store_n(float* p, F32 x, int64_t n) { _mm512_mask_storeu_ps(p, first_lanes(n), x.v); }
inline __m256i narrow(F32 x) {
#if defined(__AVX512BF16__)
  return (__m256i)_mm512_cvtneps_pbh(x.v);
#else
  const __m512i bits = _mm512_castps_si512(x.v);
  const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
  __m512i rounded = _mm512_srli_epi32(_mm512_add_epi32(_mm512_add_epi32(bits, odd), _mm512_set1_epi32(0x7fff)), 16);
  const __mmask16 nan = _mm512_cmp_ps_mask(x.v, x.v, _CMP_UNORD_Q);
  rounded = _mm512_mask_or_epi32(rounded, nan, _mm512_srli_epi32(bits, 16), _mm512_set1_epi32(0x40));
  return _mm512_cvtepi32_epi16(rounded);
#endif
}
inline void store(bf16* p, F32 x) { _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), narrow(x)); }
inline void store_n(bf16* p, F32 x, int64_t n) { _mm256_mask_storeu_epi16(p, first_lanes(n), narrow(x)); }
inline F32 operator+(F32 a, F32 b) { return {_mm512_add_ps(a.v, b.v)}; }
inline F32 operator-(F32 a, F32 b) { return {_mm512_sub_ps(a.v, b.v)}; }
inline F32 operator*(F32 a, F32 b) { return {_mm512_mul_ps(a.v, b.v)}; }
inline F32 operator/(F32 a, F32 b) { return {_mm512_div_ps(a.v, b.v)}; }
inline F32 fma(F32 a, F32 b, F32 c) { return {_mm512_fmadd_ps(a.v, b.v, c.v)}; }
// The second operand where either is NaN.
inline F32 max(F32 a, F32 b) { return {_mm512_max_ps(a.v, b.v)}; }
inline F32 min(F32 a, F32 b) { return {_mm512_min_ps(a.v, b.v)}; }
inline F32 abs(F32 a) { return {_mm512_abs_ps(a.v)}; }
inline F32 round(F32 a) { return {_mm512_roundscale_ps(a.v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)}; }
// a * 2^n for whole n in -126..127.
inline F32 scale2(F32 a, F32 n) { return {_mm512_scalef_ps(a.v, n.v)}; }
inline F32 with_sign(F32 a, F32 sign) {
  return {_mm512_castsi512_ps(_mm512_ternarylogic_epi32(_mm512_castps_si512(a.v), _mm512_castps_si512(sign.v),
                                                        _mm512_set1_epi32(INT32_MIN), 0xd8))};
}
// a where x < y, else b.
inline F32 where_less(F32 x, F32 y, F32 a, F32 b) {
  return {_mm512_mask_blend_ps(_mm512_cmp_ps_mask(x.v, y.v, _CMP_LT_OQ), b.v, a.v)};
}
inline float sum(F32 a) { return _mm512_reduce_add_ps(a.v); }
inline float largest(F32 a) { return _mm512_reduce_max_ps(a.v); }
inline I32 load(const int32_t* p) { return {_mm512_loadu_si512(p)}; }
inline I32 load_n(const int32_t* p, int64_t n) { return {_mm512_maskz_loadu_epi32(first_lanes(n), p)}; }
inline I32 operator-(I32 a, I32 b) { return {_mm512_sub_epi32(a.v, b.v)}; }
inline I32 times_128(I32 a) { return {_mm512_slli_epi32(a.v, 7)}; }
inline F32 to_f32(I32 a) { return {_mm512_cvtepi32_ps(a.v)}; }
inline void store_u8(uint8_t* p, F32 x) {  // nearest, plus 128
  const __m512i whole = _mm512_add_epi32(_mm512_cvtps_epi32(x.v), _mm512_set1_epi32(128));
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm512_cvtusepi32_epi8(_mm512_max_epi32(whole, _mm512_setzero_si512())));
}

#elif defined(__AVX2__)

constexpr int kLanes = 8;

struct F32 {
  __m256 v;
};
struct I32 {
  __m256i v;
};

inline __m256i first_lanes(int64_t n) {
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(n)), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}
inline F32 set1(float x) { return {_mm256_set1_ps(x)}; }
inline F32 zero() { return {_mm256_setzero_ps()}; }
inline F32 load(const float* p) { return {_mm256_loadu_ps(p)}; }
inline F32 load_n(const float* p, int64_t n) { return {_mm256_maskload_ps(p, first_lanes(n))}; }
inline F32 widen(__m128i x) { return {_mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(x), 16))}; }
inline F32 load(const bf16* p) { return widen(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))); }
inline F32 load_n(const bf16* p, int64_t n) {
  bf16 copy[8] = {};
  std::memcpy(copy, p, static_cast<size_t>(n) * 2);
  return load(copy);
}
inline void store(float* p, F32 x) { _mm256_storeu_ps(p, x.v); }
inline void store_n(float* p, F32 x, int64_t n) { _mm256_maskstore_ps(p, first_lanes(n), x.v); }
inline void store(bf16* p, F32 x) {
  const __m256i bits = _mm256_castps_si256(x.v);
  const __m256i odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
  __m256i rounded = _mm256_srli_epi32(_mm256_add_epi32(_mm256_add_epi32(bits, odd), _mm256_set1_epi32(0x7fff)), 16);
  const __m256i nan = _mm256_castps_si256(_mm256_cmp_ps(x.v, x.v, _CMP_UNORD_Q));
  rounded = _mm256_blendv_epi8(rounded, _mm256_or_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(0x40)), nan);
  const __m128i low = _mm256_castsi256_si128(rounded), high = _mm256_extracti128_si256(rounded, 1);
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm_packus_epi32(low, high));
}
inline void store_n(bf16* p, F32 x, int64_t n) {
  bf16 copy[8];
  store(copy, x);
  std::memcpy(p, copy, static_cast<size_t>(n) * 2);
}
inline F32 operator+(F32 a, F32 b) { return {_mm256_add_ps(a.v, b.v)}; }
inline F32 operator-(F32 a, F32 b) { return {_mm256_sub_ps(a.v, b.v)}; }
inline F32 operator*(F32 a, F32 b) { return {_mm256_mul_ps(a.v, b.v)}; }
inline F32 operator/(F32 a, F32 b) { return {_mm256_div_ps(a.v, b.v)}; }
inline F32 fma(F32 a, F32 b, F32 c) { return {_mm256_fmadd_ps(a.v, b.v, c.v)}; }
inline F32 max(F32 a, F32 b) { return {_mm256_max_ps(a.v, b.v)}; }
inline F32 min(F32 a, F32 b) { return {_mm256_min_ps(a.v, b.v)}; }
inline F32 abs(F32 a) { return {_mm256_andnot_ps(_mm256_set1_ps(-0.0f), a.v)}; }
inline F32 round(F32 a) { return {_mm256_round_ps(a.v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)}; }
inline F32 scale2(F32 a, F32 n) {
  const __m256i power = _mm256_slli_epi32(_mm256_add_epi32(_mm256_cvtps_epi32(n.v), _mm256_set1_epi32(127)), 23);
  return {_mm256_mul_ps(a.v, _mm256_castsi256_ps(power))};
}
inline F32 with_sign(F32 a, F32 sign) {
  const __m256 bit = _mm256_set1_ps(-0.0f);
  return {_mm256_or_ps(_mm256_andnot_ps(bit, a.v), _mm256_and_ps(bit, sign.v))};
}
inline F32 where_less(F32 x, F32 y, F32 a, F32 b) {
  return {_mm256_blendv_ps(b.v, a.v, _mm256_cmp_ps(x.v, y.v, _CMP_LT_OQ))};
}
inline float sum(F32 a) {
  __m128 half = _mm_add_ps(_mm256_castps256_ps128(a.v), _mm256_extractf128_ps(a.v, 1));
  half = _mm_add_ps(half, _mm_movehl_ps(half, half));
  return _mm_cvtss_f32(_mm_add_ss(half, _mm_movehdup_ps(half)));
}
inline float largest(F32 a) {
  __m128 half = _mm_max_ps(_mm256_castps256_ps128(a.v), _mm256_extractf128_ps(a.v, 1));
  half = _mm_max_ps(half, _mm_movehl_ps(half, half));
  return _mm_cvtss_f32(_mm_max_ss(half, _mm_movehdup_ps(half)));
}
inline I32 load(const int32_t* p) { return {_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p))}; }
inline I32 load_n(const int32_t* p, int64_t n) { return {_mm256_maskload_epi32(p, first_lanes(n))}; }
inline I32 operator-(I32 a, I32 b) { return {_mm256_sub_epi32(a.v, b.v)}; }
inline I32 times_128(I32 a) { return {_mm256_slli_epi32(a.v, 7)}; }
inline F32 to_f32(I32 a) { return {_mm256_cvtepi32_ps(a.v)}; }
inline void store_u8(uint8_t* p, F32 x) {
  alignas(32) int32_t whole[8];
  _mm256_store_si256(reinterpret_cast<__m256i*>(whole), _mm256_cvtps_epi32(x.v));
  for (int i = 0; i < 8; ++i) p[i] = static_cast<uint8_t>(whole[i] < -128 ? 0 : whole[i] > 127 ? 255 : whole[i] + 128);
}

#else

constexpr int kLanes = 1;

struct F32 {
  float v;
};
struct I32 {
  int32_t v;
};

inline F32 set1(float x) { return {x}; }
inline F32 zero() { return {0.0f}; }
inline F32 load(const float* p) { return {*p}; }
inline F32 load(const bf16* p) { return {to_f32(*p)}; }
inline F32 load_n(const float* p, int64_t n) { return {n ? *p : 0.0f}; }
inline F32 load_n(const bf16* p, int64_t n) { return {n ? to_f32(*p) : 0.0f}; }
inline void store(float* p, F32 x) { *p = x.v; }
inline void store(bf16* p, F32 x) { *p = to_bf16(x.v); }
template <class T>
inline void store_n(T* p, F32 x, int64_t n) {
  if (n) store(p, x);
}
inline F32 operator+(F32 a, F32 b) { return {a.v + b.v}; }
inline F32 operator-(F32 a, F32 b) { return {a.v - b.v}; }
inline F32 operator*(F32 a, F32 b) { return {a.v * b.v}; }
inline F32 operator/(F32 a, F32 b) { return {a.v / b.v}; }
inline F32 fma(F32 a, F32 b, F32 c) { return {a.v * b.v + c.v}; }
inline F32 max(F32 a, F32 b) { return {a.v > b.v ? a.v : b.v}; }
inline F32 min(F32 a, F32 b) { return {a.v < b.v ? a.v : b.v}; }
inline F32 abs(F32 a) { return {std::fabs(a.v)}; }
inline F32 round(F32 a) { return {std::nearbyint(a.v)}; }
inline F32 scale2(F32 a, F32 n) { return {n.v == n.v ? std::ldexp(a.v, static_cast<int>(n.v)) : a.v}; }
inline F32 with_sign(F32 a, F32 sign) { return {std::copysign(a.v, sign.v)}; }
inline F32 where_less(F32 x, F32 y, F32 a, F32 b) { return x.v < y.v ? a : b; }
inline float sum(F32 a) { return a.v; }
inline float largest(F32 a) { return a.v; }
inline I32 load(const int32_t* p) { return {*p}; }
inline I32 load_n(const int32_t* p, int64_t n) { return {n ? *p : 0}; }
inline I32 operator-(I32 a, I32 b) { return {a.v - b.v}; }
inline I32 times_128(I32 a) { return {128 * a.v}; }
inline F32 to_f32(I32 a) { return {static_cast<float>(a.v)}; }
inline void store_u8(uint8_t* p, F32 x) {
  const float whole = std::nearbyint(x.v) + 128.0f;
  *p = static_cast<uint8_t>(whole > 255.0f ? 255.0f : whole > 0.0f ? whole : 0.0f);
}

#endif

inline F32& operator+=(F32& a, F32 b) { return a = a + b; }

// Calls body(column, lanes) over `n` columns: whole vectors, then one partial. Use with load_some / store_some.
// One loop, so that the body is compiled once; the branch on `lanes` is well predicted.
template <class Body>
inline void columns(int64_t n, Body&& body) {
  for (int64_t c = 0; c < n; c += kLanes) body(c, least(kLanes, n - c));
}
template <class T>
inline auto load_some(const T* p, int64_t n) {
  return n == kLanes ? load(p) : load_n(p, n);
}
template <class T>
inline void store_some(T* p, F32 x, int64_t n) {
  n == kLanes ? store(p, x) : store_n(p, x, n);
}

}  // namespace spar::cpu::ENGINE_ISA
