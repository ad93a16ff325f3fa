#include "engine/relu_linear_attention.h"

namespace spar {

std::span<const Variant<ReluLinearAttentionFn>> relu_linear_attention_variants() {
  static const auto variants = on_this_host<ReluLinearAttentionFn>({
      {Isa::avx512, SPAR_X86(relu_linear_attention_avx512)},
      {Isa::avx2, SPAR_X86(relu_linear_attention_avx2)},
      {Isa::scalar, relu_linear_attention_scalar},
  });
  return variants;
}

void relu_linear_attention(const ReluLinearAttention& args) { relu_linear_attention_variants().front().run(args); }

ReluLinearAttention piece_of(const ReluLinearAttention& args, int64_t index) {
  const auto offset = [&](const Strides& strides) {
    return (index / args.heads * strides.batch + index % args.heads * strides.head) * size_of(args.dtype);
  };
  ReluLinearAttention piece = args;
  piece.batch = piece.heads = 1;
  piece.query = static_cast<const char*>(args.query) + offset(args.query_strides);
  piece.key = static_cast<const char*>(args.key) + offset(args.key_strides);
  piece.value = static_cast<const char*>(args.value) + offset(args.value_strides);
  piece.out = static_cast<char*>(args.out) + offset(args.out_strides);
  return piece;
}

}  // namespace spar
