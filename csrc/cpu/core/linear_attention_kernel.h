#pragma once

#include "core/attention.h"
#include "core/simd.h"

namespace spar::cpu::ENGINE_ISA {

// Rows of T as f32 in scratch, negative values as zero if `relu`; columns up to `stride` are zero.
template <class T, bool relu>
inline void widen_rows(const View& from, int64_t first, int64_t rows, int64_t dim, float* to, int64_t stride) {
  for (int64_t r = 0; r < rows; ++r) {
    const T* x = from.row<T>(first + r);
    float* y = to + r * stride;
    columns(dim, [&](int64_t c, int64_t lanes) {
      const F32 v = load_some(x + c, lanes);
      store(y + c, relu ? max(zero(), v) : v);  // unused lanes are loaded as zero
    });
  }
}

// out[i, :] += sum_t left[t, i] * right[t, :] for `count` rows i and `vectors` vectors of columns.
template <int count, int vectors>
inline void outer(const float* left, const float* right, int64_t stride, int64_t tokens, float* out) {
  F32 acc[count][vectors];
#pragma GCC unroll 8
  for (int i = 0; i < count; ++i)
#pragma GCC unroll 4
    for (int v = 0; v < vectors; ++v) acc[i][v] = load(out + i * stride + v * kLanes);
  for (int64_t t = 0; t < tokens; ++t) {
    F32 b[vectors];
#pragma GCC unroll 4
    for (int v = 0; v < vectors; ++v) b[v] = load(right + t * stride + v * kLanes);
#pragma GCC unroll 8
    for (int i = 0; i < count; ++i)
#pragma GCC unroll 4
      for (int v = 0; v < vectors; ++v) acc[i][v] = fma(set1(left[t * stride + i]), b[v], acc[i][v]);
  }
#pragma GCC unroll 8
  for (int i = 0; i < count; ++i)
#pragma GCC unroll 4
    for (int v = 0; v < vectors; ++v) store(out + i * stride + v * kLanes, acc[i][v]);
}

// out[t, :] = sum_i left[t, i] * right[i, :] for `count` rows t.
template <int count, int vectors>
inline void inner(const float* left, const float* right, int64_t stride, int64_t dim, float* out) {
  F32 acc[count][vectors];
#pragma GCC unroll 8
  for (int t = 0; t < count; ++t)
#pragma GCC unroll 4
    for (int v = 0; v < vectors; ++v) acc[t][v] = zero();
  for (int64_t i = 0; i < dim; ++i) {
    F32 b[vectors];
#pragma GCC unroll 4
    for (int v = 0; v < vectors; ++v) b[v] = load(right + i * stride + v * kLanes);
#pragma GCC unroll 8
    for (int t = 0; t < count; ++t)
#pragma GCC unroll 4
      for (int v = 0; v < vectors; ++v) acc[t][v] = fma(set1(left[t * stride + i]), b[v], acc[t][v]);
  }
#pragma GCC unroll 8
  for (int t = 0; t < count; ++t)
#pragma GCC unroll 4
    for (int v = 0; v < vectors; ++v) store(out + t * stride + v * kLanes, acc[t][v]);
}

constexpr int kWide = 2;                     // vectors taken together
constexpr int kTall = kLanes == 16 ? 8 : 4;  // rows taken together: their sums fit the 32 or 16 registers

template <class Whole, class Single>
inline void in_strips(int64_t n, const Whole& whole, const Single& single) {
  int64_t i = 0;
  for (; i + kTall <= n; i += kTall) whole(i);
  for (; i < n; ++i) single(i);
}

template <class T>
void linear_attention_as(const LinearAttention& a, int64_t first, int64_t head, char* scratch) {
  const int64_t dim = a.dim, stride = round_up(dim, kLanes), pairs = stride / (kWide * kLanes) * kWide * kLanes;
  float* state = reinterpret_cast<float*>(scratch);  // [dim, stride], then z [stride]
  float* z = state + dim * stride;
  float* left = z + stride;
  float* right = left + kLinearBlock * stride;
  for (int64_t i = 0; i < (dim + 1) * stride; ++i) state[i] = 0.0f;
  const View q = a.q.columns(head * dim), k = a.k.columns(head * dim), v = a.v.columns(head * dim);
  for (int64_t t = 0; t < a.tokens; t += kLinearBlock) {
    const int64_t n = a.tokens - t < kLinearBlock ? a.tokens - t : kLinearBlock;
    widen_rows<T, true>(k, first + t, n, dim, left, stride);
    widen_rows<T, false>(v, first + t, n, dim, right, stride);
    for (int64_t c = 0; c < stride; c += kLanes) {
      F32 total = load(z + c);
      for (int64_t i = 0; i < n; ++i) total += load(left + i * stride + c);
      store(z + c, total);
    }
    for (int64_t c = 0; c < pairs; c += kWide * kLanes)
      in_strips(dim, [&](int64_t i) { outer<kTall, kWide>(left + i, right + c, stride, n, state + i * stride + c); },
                [&](int64_t i) { outer<1, kWide>(left + i, right + c, stride, n, state + i * stride + c); });
    for (int64_t c = pairs; c < stride; c += kLanes)
      in_strips(dim, [&](int64_t i) { outer<kTall, 1>(left + i, right + c, stride, n, state + i * stride + c); },
                [&](int64_t i) { outer<1, 1>(left + i, right + c, stride, n, state + i * stride + c); });
  }
  for (int64_t t = 0; t < a.tokens; t += kLinearBlock) {
    const int64_t n = a.tokens - t < kLinearBlock ? a.tokens - t : kLinearBlock;
    widen_rows<T, true>(q, first + t, n, dim, left, stride);
    for (int64_t c = 0; c < pairs; c += kWide * kLanes)
      in_strips(n, [&](int64_t i) { inner<kTall, kWide>(left + i * stride, state + c, stride, dim, right + i * stride + c); },
                [&](int64_t i) { inner<1, kWide>(left + i * stride, state + c, stride, dim, right + i * stride + c); });
    for (int64_t c = pairs; c < stride; c += kLanes)
      in_strips(n, [&](int64_t i) { inner<kTall, 1>(left + i * stride, state + c, stride, dim, right + i * stride + c); },
                [&](int64_t i) { inner<1, 1>(left + i * stride, state + c, stride, dim, right + i * stride + c); });
    for (int64_t i = 0; i < n; ++i) {
      F32 weight = zero();
      for (int64_t c = 0; c < stride; c += kLanes) weight = fma(load(left + i * stride + c), load(z + c), weight);
      const F32 inverse = set1(1.0f / (sum(weight) + a.eps));
      T* out = a.out.columns(head * dim).row<T>(first + t + i);
      columns(dim, [&](int64_t c, int64_t lanes) { store_some(out + c, load(right + i * stride + c) * inverse, lanes); });
    }
  }
}

inline void linear_attention(const LinearAttention& a, int64_t first, int64_t head, char* scratch) {
  if (a.q.type == Type::f32) return linear_attention_as<float>(a, first, head, scratch);
  linear_attention_as<bf16>(a, first, head, scratch);
}

}  // namespace spar::cpu::ENGINE_ISA
