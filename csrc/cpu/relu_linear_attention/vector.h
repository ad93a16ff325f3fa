// The vector variants' common text, included once by each of them with its own ENGINE_ISA.
//
// For each batch and head, tokens go through in chunks that are copied once into padded float32 rows:
//   state[padded, padded] += relu(key)^T value    tiles of kKeys x kWide accumulators, updated once a chunk
//   out                    = relu(query) state / (relu(query) . total + eps)    tiles of kTokens x kWide
// `padded` is head_dim rounded up to whole vectors. Keys, queries and values past head_dim are zero; state rows past it
// are not read, for there 0 times an infinite value would be NaN.
#pragma once

#include <algorithm>

#include "core/simd.h"
#include "engine/relu_linear_attention.h"
#include "scratch.h"
#include "with_type.h"

namespace spar::cpu::ENGINE_ISA {
namespace {

constexpr int kChunk = 64;                     // tokens whose rows are kept: 16 KiB at a head_dim of 32
constexpr int kWide = 2;                       // vectors of a tile
constexpr int kKeys = kLanes == 16 ? 8 : 4;    // keys of a tile; divides kLanes
constexpr int kTokens = kLanes == 16 ? 8 : 4;  // queries of a tile; divides kChunk

// Zero for negative numbers; a NaN stays one.
inline F32 relu(F32 x) { return max(zero(), x); }

// to[token][0..padded) = from[token], zeros past head_dim and for tokens past the last.
template <bool kRelu, class T>
void copy_chunk(const T* from, int64_t stride, int64_t tokens, int64_t head_dim, int64_t padded, float* to) {
  for (int64_t t = 0; t < kChunk; ++t)
    for (int64_t c = 0; c < padded; c += kLanes) {
      const int64_t lanes = t < tokens ? std::clamp<int64_t>(head_dim - c, 0, kLanes) : 0;
      const F32 x = lanes ? load_some(from + t * stride + c, lanes) : zero();
      store(to + t * padded + c, kRelu ? relu(x) : x);
    }
}

// state[i][j..] += sum_t keys[t][i] * values[t][j..] for kKeys rows and N vectors.
template <int N>
void gather(const float* keys, const float* values, int64_t tokens, int64_t padded, float* state) {
  F32 total[kKeys][N];
  for (int i = 0; i < kKeys; ++i)
    for (int n = 0; n < N; ++n) total[i][n] = load(state + i * padded + n * kLanes);
  for (int64_t t = 0; t < tokens; ++t, keys += padded, values += padded) {
    F32 value[N];
    for (int n = 0; n < N; ++n) value[n] = load(values + n * kLanes);
    for (int i = 0; i < kKeys; ++i)
      for (int n = 0; n < N; ++n) total[i][n] = fma(set1(keys[i]), value[n], total[i][n]);
  }
  for (int i = 0; i < kKeys; ++i)
    for (int n = 0; n < N; ++n) store(state + i * padded + n * kLanes, total[i][n]);
}

// to[t][j..] = (sum_i queries[t][i] * state[i][j..]) / divisor[t] for kTokens rows and N vectors.
template <int N>
void apply(const float* queries, const float* state, const float* divisor, int64_t head_dim, int64_t padded,
           float* to) {
  F32 total[kTokens][N];
  for (auto& row : total)
    for (auto& one : row) one = zero();
  for (int64_t i = 0; i < head_dim; ++i, state += padded) {
    F32 mixed[N];
    for (int n = 0; n < N; ++n) mixed[n] = load(state + n * kLanes);
    for (int t = 0; t < kTokens; ++t)
      for (int n = 0; n < N; ++n) total[t][n] = fma(set1(queries[t * padded + i]), mixed[n], total[t][n]);
  }
  for (int t = 0; t < kTokens; ++t)
    for (int n = 0; n < N; ++n) store(to + t * padded + n * kLanes, total[t][n] / set1(divisor[t]));
}

struct Scratch {
  float *state, *total, *first, *second, *divisor;

  explicit Scratch(int64_t padded) {
    state = thread_scratch(padded * padded + padded + 2 * kChunk * padded + kChunk);
    total = state + padded * padded;
    first = total + padded;
    second = first + kChunk * padded;
    divisor = second + kChunk * padded;
  }
};

template <class T>
void collect(const ReluLinearAttention& args, const T* key, const T* value, int64_t padded, const Scratch& scratch) {
  std::fill_n(scratch.state, padded * padded + padded, 0.0f);
  for (int64_t start = 0; start < args.tokens; start += kChunk) {
    const int64_t tokens = std::min<int64_t>(kChunk, args.tokens - start);
    const int64_t key_stride = args.key_strides.token, value_stride = args.value_strides.token;
    copy_chunk<true>(key + start * key_stride, key_stride, tokens, args.head_dim, padded, scratch.first);
    copy_chunk<false>(value + start * value_stride, value_stride, tokens, args.head_dim, padded, scratch.second);
    for (int64_t c = 0; c < padded; c += kLanes) {
      F32 total = load(scratch.total + c);
      for (int64_t t = 0; t < tokens; ++t) total += load(scratch.first + t * padded + c);
      store(scratch.total + c, total);
    }
    for (int64_t i = 0; i < padded; i += kKeys) {
      int64_t j = 0;
      for (; j + kWide * kLanes <= padded; j += kWide * kLanes)
        gather<kWide>(scratch.first + i, scratch.second + j, tokens, padded, scratch.state + i * padded + j);
      if (j < padded) gather<1>(scratch.first + i, scratch.second + j, tokens, padded, scratch.state + i * padded + j);
    }
  }
}

template <class T>
void answer(const ReluLinearAttention& args, const T* query, T* out, int64_t padded, const Scratch& scratch) {
  for (int64_t start = 0; start < args.tokens; start += kChunk) {
    const int64_t tokens = std::min<int64_t>(kChunk, args.tokens - start);
    const int64_t stride = args.query_strides.token;
    copy_chunk<true>(query + start * stride, stride, tokens, args.head_dim, padded, scratch.first);
    for (int64_t t = 0; t < tokens; t += kTokens) {
      const float* queries = scratch.first + t * padded;
      for (int i = 0; i < kTokens; ++i) {
        F32 divisor = zero();
        for (int64_t c = 0; c < padded; c += kLanes)
          divisor = fma(load(queries + i * padded + c), load(scratch.total + c), divisor);
        scratch.divisor[i] = sum(divisor) + args.eps;
      }
      float* rows = scratch.second + t * padded;
      int64_t j = 0;
      for (; j + kWide * kLanes <= padded; j += kWide * kLanes)
        apply<kWide>(queries, scratch.state + j, scratch.divisor, args.head_dim, padded, rows + j);
      if (j < padded) apply<1>(queries, scratch.state + j, scratch.divisor, args.head_dim, padded, rows + j);
    }
    for (int64_t t = 0; t < tokens; ++t)
      columns(args.head_dim, [&](int64_t c, int64_t lanes) {
        store_some(out + (start + t) * args.out_strides.token + c, load(scratch.second + t * padded + c), lanes);
      });
  }
}

template <class T>
T* head_of(T* array, const Strides& strides, int64_t batch, int64_t head) {
  return array + batch * strides.batch + head * strides.head;
}

inline void attend(const ReluLinearAttention& args) {
  const int64_t padded = round_up(args.head_dim, kLanes);
  const Scratch scratch(padded);
  with_type(args.dtype, [&](auto type) {
    using T = decltype(type);
    for (int64_t b = 0; b < args.batch; ++b)
      for (int64_t h = 0; h < args.heads; ++h) {
        collect(args, head_of(static_cast<const T*>(args.key), args.key_strides, b, h),
                head_of(static_cast<const T*>(args.value), args.value_strides, b, h), padded, scratch);
        answer(args, head_of(static_cast<const T*>(args.query), args.query_strides, b, h),
               head_of(static_cast<T*>(args.out), args.out_strides, b, h), padded, scratch);
      }
  });
}

}  // namespace
}  // namespace spar::cpu::ENGINE_ISA
