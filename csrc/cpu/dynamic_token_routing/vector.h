// The vector variants' common text, included once by each of them with its own ENGINE_ISA.
//
// Tokens go through in blocks whose float32 rows stay in the second-level cache:
//   inner  = silu(w1 last + b1)         tiles of kTokens x kOutputs dot products, one vector accumulator each
//   mixed  = sum_k weight[k] level[k]   one token at a time, then its LayerNorm while the row is in the first level
//   routed = proj mixed + bias          the same tiles
// A dot product adds the same lanes in the same order whichever tile it falls in.
#pragma once

#include <math.h>

#include <algorithm>

#include "core/math.h"
#include "core/simd.h"
#include "engine/dynamic_token_routing.h"
#include "scratch.h"
#include "with_type.h"

namespace spar::cpu::ENGINE_ISA {
namespace {

constexpr int kBlock = 48;                        // tokens whose rows are kept
constexpr int kTokens = kLanes == 16 ? 6 : 3;     // of a tile: accumulators, operands fit the 32 or 16 registers
constexpr int kOutputs = 4;

struct Rows {
  float* data;
  int64_t width;
  float* operator[](int64_t row) const { return data + row * width; }
};

// sums[t][o] = row t of x . row o of w, over `width` columns.
template <int T, int O, class W>
void tile(const float* x, const W* w, int64_t width, float (&sums)[kTokens][kOutputs]) {
  F32 total[T][O];
  for (auto& row : total)
    for (auto& one : row) one = zero();
  columns(width, [&](int64_t column, int64_t lanes) {
    F32 weights[O];
    for (int o = 0; o < O; ++o) weights[o] = load_some(w + o * width + column, lanes);
    for (int t = 0; t < T; ++t) {
      const F32 values = load_some(x + t * width + column, lanes);
      for (int o = 0; o < O; ++o) total[t][o] = fma(values, weights[o], total[t][o]);
    }
  });
  for (int t = 0; t < T; ++t)
    for (int o = 0; o < O; ++o) sums[t][o] = sum(total[t][o]);
}

// Calls put(token, output, x[token] . w[output]) for `tokens` rows of x and `outputs` rows of w.
template <class W, class Put>
void linear(Rows x, int64_t tokens, const W* w, int64_t outputs, const Put& put) {
  float sums[kTokens][kOutputs];
  for (int64_t o = 0; o < outputs; o += kOutputs) {
    const int64_t wide = std::min<int64_t>(kOutputs, outputs - o);
    for (int64_t t = 0; t < tokens; t += kTokens) {
      const int64_t high = std::min<int64_t>(kTokens, tokens - t);
      if (high == kTokens && wide == kOutputs) {
        tile<kTokens, kOutputs>(x[t], w + o * x.width, x.width, sums);
        for (int64_t i = 0; i < high; ++i)
          for (int64_t j = 0; j < wide; ++j) put(t + i, o + j, sums[i][j]);
      } else {
        for (int64_t i = 0; i < high; ++i)
          for (int64_t j = 0; j < wide; ++j) {
            tile<1, 1>(x[t + i], w + (o + j) * x.width, x.width, sums);
            put(t + i, o + j, sums[0][0]);
          }
      }
    }
  }
}

inline void silu_row(float* x, int64_t size) {
  columns(size, [&](int64_t c, int64_t lanes) { store_some(x + c, silu(load_some(x + c, lanes)), lanes); });
}

// weights[k] = softmax(weights / temperature)[k]
inline void softmax(float* weights, int64_t depth, float temperature) {
  float highest = -INFINITY, total = 0;
  for (int64_t k = 0; k < depth; ++k) highest = fmaxf(highest, weights[k] /= temperature);
  for (int64_t k = 0; k < depth; ++k) total += weights[k] = expf(weights[k] - highest);
  for (int64_t k = 0; k < depth; ++k) weights[k] /= total;
}

// row = sum_k factor[k] * level[k], then its LayerNorm.
template <class A>
void mix(const DynamicTokenRouting& args, const A* token, const float* factor, float* row) {
  const float count = static_cast<float>(args.width);
  F32 total = zero();
  columns(args.width, [&](int64_t c, int64_t lanes) {
    F32 mixed = zero();
    for (int64_t k = 0; k < args.depth; ++k)
      mixed = fma(set1(factor[k]), load_some(token + k * args.level_stride + c, lanes), mixed);
    store_some(row + c, mixed, lanes);
    total += mixed;  // lanes past the end hold 0
  });
  const float mean = sum(total) / count;
  F32 squares = zero();
  int64_t c = 0;
  for (; c + kLanes <= args.width; c += kLanes) {
    const F32 centred = load(row + c) - set1(mean);
    squares = fma(centred, centred, squares);
  }
  float variance = sum(squares);
  for (; c < args.width; ++c) variance += (row[c] - mean) * (row[c] - mean);
  const F32 inverse = set1(1 / sqrtf(variance / count + args.eps));
  columns(args.width, [&](int64_t c, int64_t lanes) {
    const F32 normal = (load_some(row + c, lanes) - set1(mean)) * inverse;
    store_some(row + c, fma(normal, load_some(args.norm_weight + c, lanes), load_some(args.norm_bias + c, lanes)), lanes);
  });
}

// The routing of `tokens` tokens, the first of which is `first`. Scratch: rows and inner.
template <class A, class W>
void block(const DynamicTokenRouting& args, int64_t first, int64_t tokens, Rows rows, Rows inner, float* weights) {
  const A* levels = static_cast<const A*>(args.levels.data) + first * args.width;
  const A* last = levels + (args.depth - 1) * args.level_stride;
  columns(tokens * args.width,
          [&](int64_t c, int64_t lanes) { store_some(rows.data + c, load_some(last + c, lanes), lanes); });
  linear(rows, tokens, static_cast<const W*>(args.w1.data), args.hidden,
         [&](int64_t t, int64_t o, float x) { inner[t][o] = x + args.b1[o]; });
  silu_row(inner.data, tokens * args.hidden);
  linear(inner, tokens, static_cast<const W*>(args.w2.data), args.depth,
         [&](int64_t t, int64_t k, float x) { weights[t * args.depth + k] = x + args.b2[k]; });
  for (int64_t t = 0; t < tokens; ++t) {
    float* mine = weights + t * args.depth;
    softmax(mine, args.depth, args.temperature);
    if (args.weights != nullptr) std::copy_n(mine, args.depth, args.weights + (first + t) * args.depth);
    for (int64_t k = 0; k < args.depth; ++k) mine[k] *= args.scales[k];
    mix(args, levels + t * args.width, mine, rows[t]);
  }
  A* routed = static_cast<A*>(args.routed) + first * args.width;
  linear(rows, tokens, static_cast<const W*>(args.proj_weight.data), args.width, [&](int64_t t, int64_t o, float x) {
    const float value = x + args.proj_bias[o];
    if constexpr (sizeof(A) == 2)
      routed[t * args.width + o] = to_bf16(value);
    else
      routed[t * args.width + o] = value;
  });
}

inline void route(const DynamicTokenRouting& args) {
  const int64_t most = std::min<int64_t>(kBlock, args.tokens);
  float* scratch = thread_scratch(most * (args.width + args.hidden + args.depth));
  const Rows rows{scratch, args.width}, inner{scratch + most * args.width, args.hidden};
  float* weights = inner[most];
  with_type(args.levels.dtype, [&](auto a) {
    with_type(args.w1.dtype, [&](auto w) {
      for (int64_t first = 0; first < args.tokens; first += kBlock)
        block<decltype(a), decltype(w)>(args, first, std::min<int64_t>(kBlock, args.tokens - first), rows, inner, weights);
    });
  });
}

}  // namespace
}  // namespace spar::cpu::ENGINE_ISA
