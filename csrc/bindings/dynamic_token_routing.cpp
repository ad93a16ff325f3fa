#include "engine/dynamic_token_routing.h"

#include <algorithm>
#include <cmath>

#include "arrays.h"
#include "registry.h"
#include "threads.h"
#include "variants.h"

namespace py = pybind11;
using namespace spar;

namespace {

py::tuple call(const py::object& levels, const py::object& w1, const py::object& b1, const py::object& w2,
               const py::object& b2, const py::object& scales, const py::object& norm_weight,
               const py::object& norm_bias, const py::object& proj_weight, const py::object& proj_bias,
               float temperature, float eps, bool want_weights, const std::string& variant, int64_t threads,
               const py::object& out) {
  using bindings::floats, bindings::reals;
  Dims dims("dynamic_token_routing");
  DynamicTokenRouting args{};
  args.levels = reals(dims, "levels", levels, {"depth", "tokens", "width"});
  args.w1 = reals(dims, "w1", w1, {"hidden", "width"});
  args.b1 = floats(dims, "b1", b1, {"hidden"});
  args.w2 = reals(dims, "w2", w2, {"depth", "hidden"});
  args.b2 = floats(dims, "b2", b2, {"depth"});
  args.scales = floats(dims, "scales", scales, {"depth"});
  args.norm_weight = floats(dims, "norm_weight", norm_weight, {"width"});
  args.norm_bias = floats(dims, "norm_bias", norm_bias, {"width"});
  args.proj_weight = reals(dims, "proj_weight", proj_weight, {"width", "width"});
  args.proj_bias = floats(dims, "proj_bias", proj_bias, {"width"});
  args.depth = dims["depth"], args.tokens = dims["tokens"], args.width = dims["width"], args.hidden = dims["hidden"];
  args.level_stride = args.tokens * args.width;
  args.temperature = temperature, args.eps = eps;
  for (const auto axis : {"depth", "width", "hidden"})
    if (dims[axis] == 0) dims.fail(std::string(axis) + "=0; it must be at least 1");
  if (args.w2.dtype != args.w1.dtype || args.proj_weight.dtype != args.w1.dtype)
    dims.fail("`w1`, `w2` and `proj_weight` differ in type; pass all three as float32 or all three as bf16 bits");
  if (!(std::isfinite(temperature) && temperature > 0))
    dims.fail("temperature=" + std::to_string(temperature) + "; it must be finite and greater than 0");
  if (!(std::isfinite(eps) && eps > 0)) dims.fail("eps=" + std::to_string(eps) + "; it must be finite and greater than 0");

  const auto run = pick<DynamicTokenRoutingFn>("dynamic_token_routing", dynamic_token_routing_variants(), variant).run;
  auto& pool = bindings::shared_pool(dims, threads);
  py::array routed = bindings::output(dims, "out", out, args.levels.dtype, {"tokens", "width"});
  py::object weights = py::none();
  if (want_weights) {
    py::array made = bindings::make(Dtype::f32, {args.tokens, args.depth});
    args.weights = static_cast<float*>(made.mutable_data());
    weights = made;
  }
  args.routed = routed.mutable_data();
  {
    py::gil_scoped_release nogil;
    // Pieces of at least 8 tokens: each one reads all the weights.
    const int64_t pieces = std::clamp<int64_t>(args.tokens / 8, 1, pool.threads());
    cpu::Pool::Seat(pool).each(pieces, [&](int64_t index, int) { run(piece_of(args, index, pieces)); });
  }
  return py::make_tuple(routed, weights);
}

const bindings::Registration registered([](py::module_& module) {
  module.def("dynamic_token_routing", &call);
  module.def("dynamic_token_routing_variants", [] { return bindings::names(dynamic_token_routing_variants()); });
});

}  // namespace
