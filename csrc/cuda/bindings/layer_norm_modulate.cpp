#include "bindings/call.h"

namespace spar::cuda {
namespace {

void run(Call& call) {
  LayerNormModulate args{};
  args.x = call.reals("x", {"batch", "tokens", "width"});
  const Array &shift = call.rows("shift", Kind::f32, {"batch", "width"}),
              &scale = call.rows("scale", Kind::f32, {"batch", "width"});
  args.shift = static_cast<const float*>(shift.data), args.shift_stride = shift.strides[0];
  args.scale = static_cast<const float*>(scale.data), args.scale_stride = scale.strides[0];
  args.eps = static_cast<float>(call.number("eps", 1e-6));
  const Axes axes = {"batch", "tokens", "width"};
  if (call.given("out_scales")) {
    args.out = call.eights("out", axes);
    args.out_scales = call.result<float>("out_scales", Kind::f32, {"batch", "tokens"});
  } else {
    args.out = call.result<uint16_t>("out", Kind::bf16, axes);
  }
  args.batch = call.dims["batch"], args.tokens = call.dims["tokens"], args.width = call.dims["width"];
  call.in_eights("width"), call.at_most("width", kWidestRow);
  call.done();
  layer_norm_modulate(args, call.stream);
}

const Registration registered("layer_norm_modulate", &run);

}  // namespace
}  // namespace spar::cuda
