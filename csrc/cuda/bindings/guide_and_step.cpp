#include "bindings/call.h"

namespace spar::cuda {
namespace {

void run(Call& call) {
  GuideAndStep args{};
  const Axes state = {"images", "size"};
  call.dims.set("constants", 4, "sigma, a, b, c");
  args.velocity = call.reals("velocity", {"branches", "images", "size"});
  args.table = call.floats("table", {"steps", "constants"});
  args.latent = call.floats("latent", state);
  args.data = call.result<float>("data", Kind::f32, state);
  args.out = call.result<float>("out", Kind::f32, state);
  if (call.given("model_input")) args.model_input = call.result<uint16_t>("model_input", Kind::bf16, state);
  args.branches = call.dims["branches"], args.images = call.dims["images"], args.size = call.dims["size"];
  if (args.branches != 1 && args.branches != 2)
    call.dims.fail("`velocity` has branches=" + std::to_string(args.branches) + "; it must be 1 or 2");
  if (args.branches == 2 || call.given("guidance")) args.guidance = call.floats("guidance", {"images"});
  const double step = call.number("step");
  args.step = static_cast<int64_t>(step);
  if (!(step >= 0 && step < static_cast<double>(call.dims["steps"])) || static_cast<double>(args.step) != step)
    call.dims.fail("step=" + std::to_string(step) + " is no row of `table`, which has steps=" +
                   std::to_string(call.dims["steps"]));
  call.done();
  guide_and_step(args, call.stream);
}

const Registration registered("guide_and_step", &run);

}  // namespace
}  // namespace spar::cuda
