// The vector variants' common text, included once by each of them with its own ENGINE_ISA: the engine's own kernel
// (core/linear_attention_kernel.h), head by head.
#pragma once

#include "core/linear_attention_kernel.h"
#include "engine/relu_linear_attention.h"
#include "scratch.h"

namespace spar::cpu::ENGINE_ISA {
namespace {

inline void attend(const ReluLinearAttention& args) {
  auto* scratch = reinterpret_cast<char*>(thread_scratch(static_cast<size_t>(linear_scratch(args.head_dim) / 4)));
  const Type type = args.dtype == Dtype::bf16 ? Type::bf16 : Type::f32;
  const auto rows = [&](const void* array, const Strides& strides, int64_t batch, int64_t head) {
    const View whole{const_cast<void*>(array), type, strides.token};
    return whole.columns(batch * strides.batch + head * strides.head);
  };
  for (int64_t b = 0; b < args.batch; ++b)
    for (int64_t h = 0; h < args.heads; ++h) {
      const LinearAttention one{rows(args.query, args.query_strides, b, h), rows(args.key, args.key_strides, b, h),
                                rows(args.value, args.value_strides, b, h), rows(args.out, args.out_strides, b, h),
                                args.tokens, args.head_dim, args.eps};
      linear_attention(one, 0, 0, scratch);
    }
}

}  // namespace
}  // namespace spar::cpu::ENGINE_ISA
