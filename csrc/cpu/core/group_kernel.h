// The product with 4-bit weights: a few rows against one panel at a time, all of k in registers.
//
// A row of the panel is split into its low and high nibbles in registers, which are the unsigned operand of the dot
// products; the weights are never written in a wider form. Every row of A is handled alike, whatever the number of
// rows, so a row's bits do not depend on its neighbours, nor on which of the vector instruction sets is used.
#pragma once

#include "core/gemm_kernel.h"

namespace spar::cpu::ENGINE_ISA {

// start: sums of a group before its first step; step: + unsigned w . signed a; value: the finished sums. The offset of the
// group goes into whichever is cheaper.
#if defined(__AVX512F__)

constexpr int kGroupRows = 4, kGroupVectors = 2;
inline Raw low_nibbles(Raw x) { return _mm512_and_si512(x, _mm512_set1_epi8(15)); }
inline Raw high_nibbles(Raw x) { return _mm512_and_si512(_mm512_srli_epi16(x, 4), _mm512_set1_epi8(15)); }
#if defined(__AVX512VNNI__)
inline Raw group_start(const int32_t* offset) { return broadcast(offset); }
inline Raw group_step(Raw sums, Raw w, Raw a) { return _mm512_dpbusd_epi32(sums, w, a); }
inline F32 group_value(Raw sums, const int32_t*) { return {_mm512_cvtepi32_ps(sums)}; }
#else
// Sixteen bits hold a whole group: 8 x 2 x 15 x 128 is below 2^15.
inline Raw group_start(const int32_t*) { return zero_raw(); }
inline Raw group_step(Raw sums, Raw w, Raw a) { return _mm512_add_epi16(sums, _mm512_maddubs_epi16(w, a)); }
inline F32 group_value(Raw sums, const int32_t* offset) {
  const Raw whole = _mm512_madd_epi16(sums, _mm512_set1_epi16(1));
  return {_mm512_cvtepi32_ps(_mm512_add_epi32(whole, broadcast(offset)))};
}
#endif

#elif defined(__AVX2__)

constexpr int kGroupRows = 2, kGroupVectors = 2;
inline Raw low_nibbles(Raw x) { return _mm256_and_si256(x, _mm256_set1_epi8(15)); }
inline Raw high_nibbles(Raw x) { return _mm256_and_si256(_mm256_srli_epi16(x, 4), _mm256_set1_epi8(15)); }
inline Raw group_start(const int32_t*) { return zero_raw(); }
inline Raw group_step(Raw sums, Raw w, Raw a) { return _mm256_add_epi16(sums, _mm256_maddubs_epi16(w, a)); }
inline F32 group_value(Raw sums, const int32_t* offset) {
  const Raw whole = _mm256_madd_epi16(sums, _mm256_set1_epi16(1));
  return {_mm256_cvtepi32_ps(_mm256_add_epi32(whole, broadcast(offset)))};
}

#else

constexpr int kGroupRows = 2, kGroupVectors = 8;
inline Raw low_nibbles(Raw x) { return x & 0x0f0f0f0f; }
inline Raw high_nibbles(Raw x) { return static_cast<Raw>(static_cast<uint32_t>(x) >> 4) & 0x0f0f0f0f; }
inline Raw group_start(const int32_t* offset) { return *offset; }
inline Raw group_step(Raw sums, Raw w, Raw a) {
  for (int i = 0; i < 32; i += 8)
    sums += ((w >> i) & 15) * static_cast<int8_t>((static_cast<uint32_t>(a) >> i) & 255u);
  return sums;
}
inline F32 group_value(Raw sums, const int32_t*) { return {static_cast<float>(sums)}; }

#endif

constexpr int64_t kGroupSteps = kGroup / per_lane(Type::s4);  // packed rows of a whole group

// Rows first .. first + rows of A times kGroupVectors vectors of a panel, from `column` on, into sums [rows, kPanel].
template <int rows>
void group_tile(const Gemm& g, int64_t first, const char* panel, int64_t column, float* sums) {
  const int64_t groups = g.w->groups();
  const char* a[rows];
  const float* a_scale[rows];
  const int32_t* offset[rows];
  F32 total[rows][kGroupVectors];
#pragma GCC unroll 8
  for (int r = 0; r < rows; ++r) {
    a[r] = reinterpret_cast<const char*>(g.a.row<int8_t>(first + r));
    a_scale[r] = g.a_scale + (first + r) * groups;
    offset[r] = g.a_offset + (first + r) * groups;
#pragma GCC unroll 8
    for (int v = 0; v < kGroupVectors; ++v) total[r][v] = zero();
  }
  int64_t left = g.w->steps();
  for (int64_t group = 0; group < groups; ++group, left -= kGroupSteps) {
    const char* weights = panel + kScaleBytes + column * 4;
    Raw sum[rows][kGroupVectors];
#pragma GCC unroll 8
    for (int r = 0; r < rows; ++r)
#pragma GCC unroll 8
      for (int v = 0; v < kGroupVectors; ++v) sum[r][v] = group_start(offset[r] + group);
    const auto step = [&](int64_t s) __attribute__((always_inline)) {
      Raw low[kGroupVectors], high[kGroupVectors];
#pragma GCC unroll 8
      for (int v = 0; v < kGroupVectors; ++v) {
        const Raw both = load_raw(weights + s * kRowBytes + v * (kLanes * 4));
        low[v] = low_nibbles(both);
        high[v] = high_nibbles(both);
      }
#pragma GCC unroll 8
      for (int r = 0; r < rows; ++r) {
        const char* lanes = a[r] + group * kGroup + s * 8;
        const Raw first_four = broadcast(lanes), last_four = broadcast(lanes + 4);
#pragma GCC unroll 8
        for (int v = 0; v < kGroupVectors; ++v)
          sum[r][v] = group_step(group_step(sum[r][v], low[v], first_four), high[v], last_four);
      }
    };
    if (left >= kGroupSteps) {
#pragma GCC unroll 4
      for (int64_t s = 0; s < kGroupSteps; ++s) step(s);
    } else {
      for (int64_t s = 0; s < left; ++s) step(s);
    }
    F32 w_scale[kGroupVectors];
#pragma GCC unroll 8
    for (int v = 0; v < kGroupVectors; ++v)
      w_scale[v] = load(reinterpret_cast<const bf16*>(panel) + column + v * kLanes);
#pragma GCC unroll 8
    for (int r = 0; r < rows; ++r) {
      const F32 unit = set1(a_scale[r][group]);
#pragma GCC unroll 8
      for (int v = 0; v < kGroupVectors; ++v)
        total[r][v] = fma(group_value(sum[r][v], offset[r] + group), unit * w_scale[v], total[r][v]);
    }
    panel += kScaleBytes + least(kGroupSteps, left) * kRowBytes;
  }
#pragma GCC unroll 8
  for (int r = 0; r < rows; ++r)
#pragma GCC unroll 8
    for (int v = 0; v < kGroupVectors; ++v) store(sums + r * kPanel + column + v * kLanes, total[r][v]);
}

using GroupTileFn = void(const Gemm&, int64_t, const char*, int64_t, float*);

inline GroupTileFn* group_tile_of(int64_t rows) {
  if constexpr (kGroupRows == 4) {
    constexpr GroupTileFn* all[] = {group_tile<1>, group_tile<2>, group_tile<3>, group_tile<4>};
    return all[rows - 1];
  } else {
    constexpr GroupTileFn* all[] = {group_tile<1>, group_tile<2>};
    return all[rows - 1];
  }
}

// The first rows bring a panel from memory; the others find it in the second-level cache.
inline void group_rows(const Gemm& g, int64_t first_row, int64_t rows, int64_t first_panel, int64_t panels,
                       char* scratch) {
  float* sums = reinterpret_cast<float*>(scratch);
  for (int64_t p = first_panel; p < first_panel + panels; ++p)
    for (int64_t r = 0; r < rows; r += kGroupRows) {
      const int64_t count = least(kGroupRows, rows - r);
      for (int64_t column = 0; column < kPanel; column += kGroupVectors * kLanes)
        group_tile_of(count)(g, first_row + r, g.w->panel(p), column, sums);
      finish(g, sums, kPanel, first_row + r, count, p * kPanel, kPanel);
    }
}

}  // namespace spar::cpu::ENGINE_ISA
