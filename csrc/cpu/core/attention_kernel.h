#pragma once

#include "core/attention.h"
#include "core/multiply.h"

namespace spar::cpu::ENGINE_ISA {

// Turns `visible` logits of a row into weights of at most 1, and zeros up to `padded`; returns what makes their sum 1.
template <class T>
float softmax_row(const float* logits, T* weights, int64_t visible, int64_t padded, float scale) {
  F32 most = set1(-__builtin_inff());
  columns(visible, [&](int64_t c, int64_t lanes) {
    if (lanes == kLanes) {
      most = max(most, load(logits + c));
    } else {
      float rest[kLanes];
      for (int64_t i = 0; i < kLanes; ++i) rest[i] = logits[c + (i < lanes ? i : 0)];
      most = max(most, load(rest));
    }
  });
  // NaN in the logits: the comparison may lose it, the exponential does not.
  const F32 top = set1(largest(most)), factor = set1(scale);
  F32 total = zero();
  columns(visible, [&](int64_t c, int64_t lanes) {
    const F32 e = exp((load_some(logits + c, lanes) - top) * factor);
    store_some(weights + c, e, lanes);
    if (lanes == kLanes) {
      total += e;
    } else {
      float rest[kLanes] = {};
      store_some(rest, e, lanes);
      total += load(rest);
    }
  });
  for (int64_t c = visible; c < padded; ++c) weights[c] = T{};
  return 1.0f / sum(total);
}

template <class T>
void attention_as(const Attention& a, int64_t head, int64_t first, int64_t rows, char* scratch) {
  const KeyValues& kv = *a.kv;
  constexpr int64_t lane = 4 / sizeof(T);
  const int64_t column = head * (a.head_step ? a.head_step : kv.dim), kv_head = head / (a.heads / a.kv_heads);
  const int64_t seen = a.causal < 0 ? a.keys : least(a.keys, a.causal + first + rows);  // keys of the last row
  const int64_t padded = round_up(seen, lane), stride = attention_width(a.keys, kv.dim);
  float* logits = reinterpret_cast<float*>(scratch + kGemmScratch);
  T* weights = reinterpret_cast<T*>(logits + a.block * stride);

  PackedLinear keys;
  keys.data = kv.keys + kv_head * kv.key_head;
  keys.type = kv.type;
  keys.n = seen;
  keys.k = round_up(kv.dim, lane);
  Gemm g;
  g.a = a.q.columns(column).rows(first);
  g.w = &keys;
  g.m = rows;
  g.bare = true;
  g.end.out = {logits, Type::f32, stride};
  multiply<T>(g, 0, rows, 0, keys.panels(), scratch);

  float factors[kTaskRows];
  for (int64_t r = 0; r < rows; ++r) {
    const int64_t visible = a.causal < 0 ? seen : least(seen, a.causal + first + r + 1);
    factors[r] = softmax_row(logits + r * stride, weights + r * stride, visible, padded, a.scale);
  }

  PackedLinear values;
  values.data = kv.values + kv_head * kv.value_head;
  values.type = kv.type;
  values.n = kv.dim;
  values.k = padded;
  values.stride = kv.capacity / lane * kRowBytes;
  g.a = {weights, kv.type, stride};
  g.w = &values;
  const int64_t wide = round_up(kv.dim, kPanel);
  float* mixed = logits;  // which are weights by now
  g.end.out = {mixed, Type::f32, wide};
  multiply<T>(g, 0, rows, 0, values.panels(), scratch);
  const View out = a.out.columns(column).rows(first);
  for (int64_t r = 0; r < rows; ++r) {
    T* to = out.row<T>(r);
    const F32 factor = set1(factors[r]);
    columns(kv.dim, [&](int64_t c, int64_t lanes) {
      store_some(to + c, load_some(mixed + r * wide + c, lanes) * factor, lanes);
    });
  }
}

inline void attention(const Attention& a, int64_t head, int64_t first, int64_t rows, char* scratch) {
  if (a.kv->type == Type::f32) return attention_as<float>(a, head, first, rows, scratch);
  attention_as<bf16>(a, head, first, rows, scratch);
}

}  // namespace spar::cpu::ENGINE_ISA
