// Dynamic Token Routing: every token mixes `depth` levels of the language model with its own weights.
//
//   levels       [depth, tokens, width]  f32 or bf16   the last one also drives the router
//   w1, b1       [hidden, width], [hidden]             router, then SiLU        matrices: f32 or bf16, all three alike
//   w2, b2       [depth, hidden], [depth]              router's logits          vectors: f32
//   scales       [depth]                               learned factor of each level
//   norm_weight, norm_bias  [width]                    of the LayerNorm
//   proj_weight, proj_bias  [width, width], [width]
//   weights      [tokens, depth]         f32           softmax(logits / temperature); null: not wanted
//   routed       [tokens, width]         as levels     proj(norm(sum_k weights[t,k] * scales[k] * levels[k,t]))
//
// Everything is dense and row-major, but level k starts at element k * level_stride. Sums are float32 and nothing is rounded to bf16 before `routed`. A token's result
// depends on that token only: not on the others, their number or the threads. No [tokens, depth, width] intermediate.
// Error and oracle: engine/oracle/dynamic_token_routing.py.
#pragma once

#include <cstdint>
#include <span>

#include "engine/real.h"
#include "engine/variant.h"

namespace spar {

struct DynamicTokenRouting {
  Reals levels, w1, w2, proj_weight;
  const float *b1, *b2, *scales, *norm_weight, *norm_bias, *proj_bias;
  float temperature, eps;
  float* weights;
  void* routed;
  int64_t depth, tokens, width, hidden, level_stride;
};

using DynamicTokenRoutingFn = void(const DynamicTokenRouting&);

std::span<const Variant<DynamicTokenRoutingFn>> dynamic_token_routing_variants();

void dynamic_token_routing(const DynamicTokenRouting& args);

// Tokens index * tokens / pieces up to the next piece's first: work for one thread, the same bits however many there are.
DynamicTokenRouting piece_of(const DynamicTokenRouting& args, int64_t index, int64_t pieces);

DynamicTokenRoutingFn dynamic_token_routing_scalar, dynamic_token_routing_avx2, dynamic_token_routing_avx512;

}  // namespace spar
