#include "engine/dynamic_token_routing.h"

namespace spar {

std::span<const Variant<DynamicTokenRoutingFn>> dynamic_token_routing_variants() {
  static const auto variants = on_this_host<DynamicTokenRoutingFn>({
      {Isa::avx512, SPAR_X86(dynamic_token_routing_avx512)},
      {Isa::avx2, SPAR_X86(dynamic_token_routing_avx2)},
      {Isa::scalar, dynamic_token_routing_scalar},
  });
  return variants;
}

void dynamic_token_routing(const DynamicTokenRouting& args) { dynamic_token_routing_variants().front().run(args); }

}  // namespace spar
