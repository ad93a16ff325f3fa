#include "engine/relu_linear_attention.h"

#include <cmath>

#include "arrays.h"
#include "registry.h"
#include "threads.h"
#include "variants.h"

namespace py = pybind11;
using namespace spar;

namespace {

Strides strides_of(const py::array& array) {
  const auto size = array.itemsize();
  return {array.strides(0) / size, array.strides(1) / size, array.strides(2) / size};
}

py::array call(const py::object& query, const py::object& key, const py::object& value, float eps,
               const std::string& variant, int64_t threads, const py::object& out_given) {
  Dims dims("relu_linear_attention");
  ReluLinearAttention args{};
  const auto taken = [&](const char* name, const py::object& given, Strides& strides) {
    const auto array =
        bindings::checked(dims, name, given, {"batch", "heads", "tokens", "head_dim"}, bindings::Layout::last_dense);
    strides = strides_of(array);
    return array;
  };
  const auto q = taken("query", query, args.query_strides);
  const auto k = taken("key", key, args.key_strides);
  const auto v = taken("value", value, args.value_strides);
  args.dtype = bindings::dtype_of(dims, "query", q);
  if (bindings::dtype_of(dims, "key", k) != args.dtype || bindings::dtype_of(dims, "value", v) != args.dtype)
    dims.fail("`query`, `key` and `value` differ in type; pass all three as float32 or all three as bf16 bits");
  if (dims["head_dim"] == 0) dims.fail("head_dim=0; it must be at least 1");
  if (!(std::isfinite(eps) && eps >= 0)) dims.fail("eps=" + std::to_string(eps) + "; it must be finite and at least 0");
  args.eps = eps;
  args.batch = dims["batch"], args.heads = dims["heads"], args.tokens = dims["tokens"], args.head_dim = dims["head_dim"];

  const auto run = pick<ReluLinearAttentionFn>("relu_linear_attention", relu_linear_attention_variants(), variant).run;
  auto& pool = bindings::shared_pool(dims, threads);
  py::array out = bindings::output(dims, "out", out_given, args.dtype, {"batch", "heads", "tokens", "head_dim"});
  args.query = q.data(), args.key = k.data(), args.value = v.data(), args.out = out.mutable_data();
  args.out_strides = strides_of(out);
  {
    py::gil_scoped_release nogil;
    cpu::Pool::Seat(pool).each(args.batch * args.heads, [&](int64_t index, int) { run(piece_of(args, index)); });
  }
  return out;
}

const bindings::Registration registered([](py::module_& module) {
  module.def("relu_linear_attention", &call);
  module.def("relu_linear_attention_variants", [] { return bindings::names(relu_linear_attention_variants()); });
});

}  // namespace
