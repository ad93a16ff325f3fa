// Dynamic Token Routing for benchmarks, as the model runs it.
#include "model/routing.h"
#include "native_pack.h"
#include "prepared.h"

namespace spar::bindings {
namespace {

using namespace cpu;

// engine/dynamic_token_routing.h at temperature 1, its weights packed.
std::function<Slot()> dynamic_token_routing(Prepared& p, const Setup& setup) {
  p.refuse_quantized(setup);
  const int64_t depth = setup.size("depth"), tokens = setup.size("tokens"), width = setup.size("width"),
                hidden = std::max<int64_t>(1, width / 2);
  Pool::Seat seat(p.pool);
  const auto linear = [&](const char* weight, const char* bias, int64_t n, int64_t k) {
    const float* rows = setup.weight(weight, {n, k});
    PackedLinear made = packed(p.arena, seat, p.weights, n, k, [=](int64_t column, float* to) { std::copy_n(rows + column * k, k, to); });
    made.bias = p.kept(setup.weight(bias, {n}), n);
    return made;
  };
  Routing routing;
  routing.first = linear("w1", "b1", hidden, width);
  routing.second = linear("w2", "b2", depth, hidden);
  routing.out = linear("proj_weight", "proj_bias", width, width);
  routing.scales = p.kept(setup.weight("scales", {depth}), depth);
  routing.norm_weight = p.kept(setup.weight("norm_weight", {width}), width);
  routing.norm_bias = p.kept(setup.weight("norm_bias", {width}), width);
  return [=, &p] {
    const Buffer levels = p.rows(p.activations, {depth, tokens, width}, routing.first.k),
                 out = p.rows(p.activations, {tokens, width});
    Slot slot{{{"levels", levels}}, out, {}};
    slot.call = [=, levels = levels.view, to = out.view](Run& run) { routing.run(run, levels, 1, tokens, to); };
    return slot;
  };
}

const Preparation routings[] = {{"dynamic_token_routing", dynamic_token_routing}};

}  // namespace
}  // namespace spar::bindings
