#include "bindings/call.h"

namespace spar::cuda {
namespace {

void run(Call& call) {
  GateResidual args{};
  const Axes axes = {"batch", "tokens", "width"};
  const auto vector = [&](const char* name, int64_t& stride) {
    const Array& array = call.rows(name, Kind::f32, {"batch", "width"});
    stride = array.strides[0];
    return static_cast<const float*>(array.data);
  };
  args.x = call.reals("x", axes);
  args.y = call.halves("y", axes);
  args.out = call.result_like("out", args.x.dtype, axes);
  if (call.given("gate")) args.gate = vector("gate", args.gate_stride);
  if (call.given("normed")) {
    if (call.given("normed_scales")) {
      args.normed = call.eights("normed", axes);
      args.normed_scales = call.result<float>("normed_scales", Kind::f32, {"batch", "tokens"});
    } else {
      args.normed = call.result<uint16_t>("normed", Kind::bf16, axes);
    }
    args.shift = vector("shift", args.shift_stride), args.scale = vector("scale", args.scale_stride);
    args.eps = static_cast<float>(call.number("eps", 1e-6));
  }
  args.batch = call.dims["batch"], args.tokens = call.dims["tokens"], args.width = call.dims["width"];
  call.in_eights("width"), call.at_most("width", kWidestRow);
  call.done();
  gate_residual(args, call.stream);
}

const Registration registered("gate_residual", &run);

}  // namespace
}  // namespace spar::cuda
