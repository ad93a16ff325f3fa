#include "bindings/call.h"

namespace spar::cuda {
namespace {

void run(Call& call) {
  DynamicTokenRouting args{};
  const Array& levels = call.rows("levels", Kind::bf16, {"depth", "tokens", "width"});
  args.levels = {levels.data, Dtype::bf16};
  args.level_stride = levels.strides[0];
  if (levels.shape[1] > 1 && levels.strides[1] != levels.shape[2])
    call.dims.fail("`levels` has gaps between its tokens; only the levels may lie apart");
  args.w1 = {call.halves("w1", {"hidden", "width"}), Dtype::bf16};
  args.b1 = call.floats("b1", {"hidden"});
  args.w2 = {call.halves("w2", {"depth", "hidden"}), Dtype::bf16};
  args.b2 = call.floats("b2", {"depth"});
  args.scales = call.floats("scales", {"depth"});
  args.norm_weight = call.floats("norm_weight", {"width"});
  args.norm_bias = call.floats("norm_bias", {"width"});
  args.proj_weight = {call.halves("proj_weight", {"width", "width"}), Dtype::bf16};
  args.proj_bias = call.floats("proj_bias", {"width"});
  args.temperature = static_cast<float>(call.number("temperature", 1));
  args.eps = static_cast<float>(call.number("eps", 1e-5));
  if (call.given("weights")) args.weights = call.result<float>("weights", Kind::f32, {"tokens", "depth"});
  args.routed = call.result<uint16_t>("routed", Kind::bf16, {"tokens", "width"});
  args.depth = call.dims["depth"], args.tokens = call.dims["tokens"], args.width = call.dims["width"];
  args.hidden = call.dims["hidden"];
  call.in_eights("width"), call.in_eights("hidden");
  call.at_most("depth", kLargestDepth), call.at_most("width", kWidestRouting);
  if (args.depth == 0) call.dims.fail("depth=0; it must be at least 1");
  if (!(args.temperature > 0)) call.dims.fail("temperature=" + std::to_string(args.temperature) + "; it must be above 0");
  void* workspace = call.workspace(dynamic_token_routing_workspace(args.tokens, args.hidden, args.depth));
  call.done();
  dynamic_token_routing(args, workspace, call.stream);
}

const Registration registered("dynamic_token_routing", &run);

}  // namespace
}  // namespace spar::cuda
