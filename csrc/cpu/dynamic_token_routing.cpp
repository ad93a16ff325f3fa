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

DynamicTokenRouting piece_of(const DynamicTokenRouting& args, int64_t index, int64_t pieces) {
  const int64_t first = index * args.tokens / pieces, bytes = first * args.width * size_of(args.levels.dtype);
  DynamicTokenRouting piece = args;
  piece.tokens = (index + 1) * args.tokens / pieces - first;
  piece.levels.data = static_cast<const char*>(args.levels.data) + bytes;
  piece.routed = static_cast<char*>(args.routed) + bytes;
  if (args.weights != nullptr) piece.weights = args.weights + first * args.depth;
  return piece;
}

}  // namespace spar
