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

}  // namespace spar
