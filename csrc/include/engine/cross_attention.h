// Cross-attention: every query attends to the keys of its picture's text, which were projected once for all steps.
//
//   query   [batch, heads, tokens, head_dim]  bf16   the last axis is dense
//   keys    [batch, heads, keys, head_dim]    bf16
//   values  [batch, heads, keys, head_dim]    bf16
//   lengths [batch]                           i32    keys of each entry that count; null: all of them
//   out     [batch, heads, tokens, head_dim]  bf16   softmax(scale * query keys^T) values, over the first lengths[b] keys
//
// Nothing beyond lengths[b] is read. An entry without keys gives 0. Logits, softmax and sums are float32; the weights of
// the values are rounded to bf16. Error and oracle: engine/oracle/cross_attention.py.
#pragma once

#include <cstdint>

#include "engine/relu_linear_attention.h"  // Strides

namespace spar {

struct CrossAttention {
  const uint16_t *query, *keys, *values;  // bf16 bits
  const int32_t* lengths;
  uint16_t* out;
  Strides query_strides, keys_strides, values_strides, out_strides;
  float scale;
  int64_t batch, heads, tokens, keys_count, head_dim;
};

}  // namespace spar
