// ReLU linear attention: softmax-free attention whose cost grows linearly with the tokens.
//
//   query, key, value  [batch, heads, tokens, head_dim]  f32 or bf16, all alike; the last axis is dense
//   out                [batch, heads, tokens, head_dim]  as query
//
//   state = relu(key)^T value     [head_dim, head_dim]   per batch and head
//   total = relu(key)^T 1         [head_dim]
//   out   = relu(query) state / (relu(query) total + eps)
//
// Sums are float32 in the order of the tokens, so that neither the threads nor the variant's blocking of them matter.
// Error and oracle: engine/oracle/relu_linear_attention.py.
#pragma once

#include <cstdint>
#include <span>

#include "engine/real.h"
#include "engine/variant.h"

namespace spar {

// Elements from one index to the next along each outer axis.
struct Strides {
  int64_t batch, head, token;
};

struct ReluLinearAttention {
  const void *query, *key, *value;
  void* out;
  Dtype dtype;
  Strides query_strides, key_strides, value_strides, out_strides;
  float eps;
  int64_t batch, heads, tokens, head_dim;
};

using ReluLinearAttentionFn = void(const ReluLinearAttention&);

std::span<const Variant<ReluLinearAttentionFn>> relu_linear_attention_variants();

void relu_linear_attention(const ReluLinearAttention& args);

// One head of one batch entry; there are batch * heads pieces.
ReluLinearAttention piece_of(const ReluLinearAttention& args, int64_t index);

ReluLinearAttentionFn relu_linear_attention_scalar, relu_linear_attention_avx2, relu_linear_attention_avx512;

}  // namespace spar
