// Softmax attention over packed keys and values, linear attention, depthwise convolution: contracts.
#pragma once

#include "core/gemm.h"

namespace spar::cpu {

// Keys of one head are a packed matrix [dim -> keys], values one [keys -> dim] (gemm.h), so that both products are
// those of the linear layers. A later key only adds to what is there: cached keys and values stay packed.
struct KeyValues {
  char* keys = nullptr;
  char* values = nullptr;
  Type type = Type::f32;
  int64_t dim = 0, capacity = 0;  // capacity: a multiple of kPanel
  int64_t key_head = 0, value_head = 0;  // bytes from one head to the next
};

// Bytes of the packed keys, and of the packed values, of one head.
SPAR_INLINE int64_t key_bytes(Type type, int64_t dim, int64_t capacity) {
  return capacity / kPanel * ceil_div(dim, per_lane(type)) * kRowBytes;
}
SPAR_INLINE int64_t value_bytes(Type type, int64_t dim, int64_t capacity) {
  return ceil_div(dim, kPanel) * (capacity / per_lane(type)) * kRowBytes;
}

// out[t, h] = softmax(scale * q[t, h] . k) v, over the first `keys` keys; with causal >= 0 token t sees causal + t + 1.
// Weights are divided by their sum at the end: values whose sum over the keys is infinite give an infinite result.
struct Attention {
  View q, out;                 // f32 or bf16; head h in columns h * dim ..
  const KeyValues* kv = nullptr;
  int64_t tokens = 0, heads = 0, kv_heads = 0, keys = 0;
  int64_t causal = -1;
  float scale = 1.0f;
  int64_t head_step = 0;       // columns from one head of q and out to the next; 0: dim
  int64_t block = 48;          // query rows of a task
};
// Of one token the queries of one key head are the rows of one product, and no key stands after it.
SPAR_INLINE void join_one_token(Attention& a, int64_t dim) {
  if (a.tokens != 1) return;
  a.q.stride = a.out.stride = dim;
  a.tokens = a.heads / a.kv_heads;
  a.heads = a.kv_heads;
  a.causal = -1;
  a.head_step = a.tokens * dim;
}
// Numbers in a row of logits, which later holds a row of the result; and bytes of scratch.
SPAR_INLINE int64_t attention_width(int64_t keys, int64_t dim) { return round_up(keys > dim ? keys : dim, 64); }
SPAR_INLINE int64_t attention_scratch(int64_t block, int64_t keys, int64_t dim) {
  return kGemmScratch + block * attention_width(keys, dim) * 8 + 256;
}
using AttentionTask = void(const Attention&, int64_t head, int64_t first, int64_t rows, char* scratch);

// One head of ReLU linear attention (engine/relu_linear_attention.h), on rows of all heads.
struct LinearAttention {
  View q, k, v, out;  // f32 or bf16; head h in columns h * dim ..
  int64_t tokens = 0, dim = 0;
  float eps = 1e-15f;
};
constexpr int64_t kLinearBlock = 64;  // tokens
SPAR_INLINE int64_t linear_scratch(int64_t dim) { return ((dim + 1) * (dim + 16) + 2 * kLinearBlock * (dim + 16)) * 4; }
using LinearAttentionTask = void(const LinearAttention&, int64_t first_token, int64_t head, char* scratch);

constexpr int kMostDepthwise = 15;  // largest kernel side

// Depthwise convolution, odd kernel, zero outside, channels last. With `glu` channel c of the first half is multiplied
// by SiLU of channel c of the second half.
struct Depthwise {
  View in, out;  // f32 or bf16 [pictures * height * width, channels]
  const float* weight = nullptr;  // [kernel * kernel, channels]
  const float* bias = nullptr;    // [channels]; null: none
  int64_t height = 0, width = 0, channels = 0;
  int kernel = 3;
  bool glu = false;
};
using DepthwiseLine = void(const Depthwise&, int64_t line);  // line = picture * height + y

}  // namespace spar::cpu
