// The kernels of the native backend one by one, for tests: float32 arrays in and out, any instruction set. Each call packs and
// converts; prepared.h is for calls that are timed.
#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include <cstring>
#include <optional>

#include "core/product.h"
#include "engine/dims.h"
#include "model/keyvalues.h"
#include "model/pictures.h"
#include "native_pack.h"
#include "registry.h"

namespace py = pybind11;
using namespace spar::cpu;

namespace {

using Floats = py::array_t<float, py::array::c_style | py::array::forcecast>;
using Maybe = std::optional<Floats>;

// One call's tools; memory goes back with it.
struct Bench {
  explicit Bench(const std::string& isa, int threads = 1, Type type = Type::f32)
      : pool(threads), seat(pool), run(kernels(isa), seat, arena, type, nullptr, nullptr) {}
  Pool pool;
  Pool::Seat seat;
  Arena arena;
  Run run;

  View view(const Floats& x, int64_t width) { return {const_cast<float*>(x.data()), Type::f32, width}; }
  // A copy in `type`, with rows padded as the arena pads them.
  View as(Type type, const Floats& x, int64_t rows, int64_t width) {
    const View to = arena.matrix(type, rows, width);
    run.convert(view(x, width), to, rows, width);
    return to;
  }
  Floats back(const View& from, int64_t rows, int64_t width, std::vector<int64_t> shape) {
    Floats out(std::move(shape));
    run.convert(from, {out.mutable_data(), Type::f32, width}, rows, width);
    return out;
  }
};

Type type_of(const std::string& name) {
  if (name == "f32") return Type::f32;
  if (name == "bf16") return Type::bf16;
  throw spar::InputError("native: type '" + name + "' is unknown; it has f32, bf16");
}

Type weight_type_of(const std::string& name) {
  if (name == "s8") return Type::s8;
  if (name == "s4") return Type::s4;
  if (name == "f32" || name == "bf16") return type_of(name);
  throw spar::InputError("native: type '" + name + "' is unknown; weights have f32, bf16, s8, s4");
}

Act act_of(const std::string& name) {
  static const std::map<std::string, Act> acts = {{"none", Act::none},           {"silu", Act::silu},
                                                  {"gelu_erf", Act::gelu_erf},   {"gelu_tanh", Act::gelu_tanh},
                                                  {"glu_silu", Act::glu_silu}};
  const auto found = acts.find(name);
  if (found == acts.end()) throw spar::InputError("native: activation '" + name + "' is unknown");
  return found->second;
}

const float* data_of(const Maybe& x) { return x ? x->data() : nullptr; }

PackedLinear pack(Bench& b, Type type, const Floats& w, int64_t n, int64_t k, int64_t taps) {
  return spar::bindings::packed(b.arena, b.seat, type, n, k, spar::bindings::by_taps(w.data(), k / taps, taps));
}

// The packed panels of w [n, k] as bytes [panels, bytes of one].
py::array_t<uint8_t> packed_panels(const Floats& w, const std::string& type) {
  const Type kind = weight_type_of(type);
  Bench b("");
  const PackedLinear packed = pack(b, kind, w, w.shape(0), w.shape(1), 1);
  py::array_t<uint8_t> out({packed.panels(), panel_bytes(kind, packed.k)});
  std::memcpy(out.mutable_data(), packed.data, static_cast<size_t>(out.nbytes()));
  return out;
}

// act(a [m, k] x w [n, k]^T + bias) * gate + residual; with glu_silu w holds 16 gates, then 16 values, in turn.
Floats product(const Floats& a, const Floats& w, const std::string& type, const std::string& isa, int threads,
               const Maybe& bias, const std::string& act, const Maybe& gate, const Maybe& residual,
               const std::string& out) {
  spar::Dims dims("native_product");
  const int64_t m = a.shape(0), k = a.shape(1), n = w.shape(0);
  if (w.shape(1) != k) dims.fail("`w` has k=" + std::to_string(w.shape(1)) + ", but `a` has k=" + std::to_string(k));
  const Type kind = weight_type_of(type);
  Bench b(isa, threads, kind == Type::f32 ? Type::f32 : Type::bf16);
  PackedLinear packed = pack(b, kind, w, n, k, 1);
  packed.bias = data_of(bias);
  Floats padded({m, packed.k});
  std::fill_n(padded.mutable_data(), m * packed.k, 0.0f);
  for (int64_t r = 0; r < m; ++r) std::copy_n(a.data() + r * k, k, padded.mutable_data() + r * packed.k);
  Epilogue end;
  end.act = act_of(act);
  end.gate = data_of(gate);
  if (residual) end.residual = b.view(*residual, n);
  const int64_t width = end.act == Act::glu_silu ? n / 2 : n;
  end.out = b.arena.matrix(type_of(out), m, width);
  b.run.linear(packed, b.view(padded, packed.k), m, end);
  return b.back(end.out, m, width, {m, width});
}

// Square kernel over x [pictures, height, width, channels], zero outside, w [n, channels, kernel, kernel].
Floats convolution(const Floats& x, const Floats& w, const std::string& type, const std::string& isa, int threads) {
  const int64_t pictures = x.shape(0), height = x.shape(1), width = x.shape(2), channels = x.shape(3), n = w.shape(0);
  const int kernel = static_cast<int>(w.shape(2));
  const Type kind = type_of(type);
  Bench b(isa, threads, kind);
  const int64_t count = pictures * height * width;
  const PackedLinear packed = pack(b, kind, w, n, channels * kernel * kernel, kernel * kernel);
  const View none = b.arena.matrix(kind, 1, channels);
  std::fill_n(none.row<char>(0), none.stride * size_of(kind), 0);
  const Taps taps = taps_of(height, width, channels, kernel, -(kernel / 2), -(kernel / 2), none.data);
  Epilogue end;
  end.out = b.arena.matrix(Type::f32, count, n);
  b.run.linear(packed, b.as(kind, x, count, channels), count, end, &taps);
  return b.back(end.out, count, n, {pictures, height, width, n});
}

Floats norm(const Floats& x, float eps, bool centred, const Maybe& weight, const Maybe& bias, const Maybe& scale,
            const Maybe& shift, const Maybe& residual, bool relu, const std::string& isa) {
  const int64_t rows = x.shape(0), width = x.shape(1);
  Bench b(isa);
  Norm n;
  n.in = b.view(x, width);
  n.out = b.arena.matrix(Type::f32, rows, width);
  n.width = width;
  n.eps = eps;
  n.centred = centred;
  n.relu = relu;
  n.weight = data_of(weight);
  n.bias = data_of(bias);
  n.scale = data_of(scale);
  n.shift = data_of(shift);
  if (residual) n.residual = b.view(*residual, width);
  b.run.norm(n, rows);
  return b.back(n.out, rows, width, {rows, width});
}

// q [tokens, heads * dim] over k, v [keys, kv_heads * dim]; causal >= 0: token t sees causal + t + 1 keys.
Floats attention(const Floats& q, const Floats& k, const Floats& v, int64_t heads, int64_t kv_heads, float scale,
                 int64_t causal, const std::string& type, const std::string& isa, int threads) {
  const int64_t tokens = q.shape(0), width = q.shape(1), keys = k.shape(0), dim = width / heads;
  const Type kind = type_of(type);
  Bench b(isa, threads, kind);
  const KeyValueStore store(kind, 1, 1, kv_heads, dim, keys);
  for (int64_t h = 0; h < kv_heads; ++h)
    store.put(0, 0, h, b.view(k, kv_heads * dim), b.view(v, kv_heads * dim), 0, keys);
  const KeyValues kv = store.at(0, 0);
  Attention a;
  a.q = b.as(kind, q, tokens, width);
  a.out = b.arena.matrix(kind, tokens, width);
  a.kv = &kv;
  a.tokens = tokens;
  a.heads = heads;
  a.kv_heads = kv_heads;
  a.keys = keys;
  a.causal = causal;
  a.scale = scale;
  b.run.attention(a);
  return b.back(a.out, tokens, width, {tokens, width});
}

Floats linear_attention(const Floats& q, const Floats& k, const Floats& v, int64_t dim, const std::string& type,
                        const std::string& isa) {
  const int64_t tokens = q.shape(0), width = q.shape(1);
  const Type kind = type_of(type);
  Bench b(isa, 1, kind);
  LinearAttention a;
  a.q = b.as(kind, q, tokens, width);
  a.k = b.as(kind, k, tokens, width);
  a.v = b.as(kind, v, tokens, width);
  a.out = b.arena.matrix(kind, tokens, width);
  a.tokens = tokens;
  a.dim = dim;
  char* scratch = b.arena.take_bytes(static_cast<size_t>(linear_scratch(dim)));
  for (int64_t h = 0; h < width / dim; ++h) b.run.kernels.linear_attention(a, 0, h, scratch);
  return b.back(a.out, tokens, width, {tokens, width});
}

// x [pictures, height, width, channels], weight [kernel * kernel, channels].
Floats depthwise(const Floats& x, const Floats& weight, const Maybe& bias, bool glu, const std::string& type,
                 const std::string& isa) {
  const int64_t pictures = x.shape(0), height = x.shape(1), width = x.shape(2), channels = x.shape(3);
  const Type kind = type_of(type);
  Bench b(isa, 1, kind);
  Depthwise d;
  const int64_t count = pictures * height * width, out = glu ? channels / 2 : channels;
  d.in = b.as(kind, x, count, channels);
  d.out = b.arena.matrix(kind, count, out);
  d.weight = weight.data();
  d.bias = data_of(bias);
  d.height = height;
  d.width = width;
  d.channels = channels;
  while (d.kernel * d.kernel < weight.shape(0)) ++d.kernel;
  if (d.kernel * d.kernel != weight.shape(0) || d.kernel % 2 == 0 || d.kernel > kMostDepthwise)
    throw spar::InputError("native_depthwise: `weight` has " + std::to_string(weight.shape(0)) +
                           " taps; it takes odd squares from 9 to " + std::to_string(kMostDepthwise * kMostDepthwise));
  d.glu = glu;
  for (int64_t line = 0; line < pictures * height; ++line) b.run.kernels.depthwise(d, line);
  return b.back(d.out, count, out, {pictures, height, width, out});
}

const spar::bindings::Registration registered([](py::module_& module) {
  const auto none = py::none();
  module.def("native_panels", &packed_panels, py::arg("w"), py::kw_only(), py::arg("type"));
  module.def("native_product", &product, py::arg("a"), py::arg("w"), py::kw_only(), py::arg("type") = "f32",
             py::arg("isa") = "", py::arg("threads") = 1, py::arg("bias") = none, py::arg("act") = "none",
             py::arg("gate") = none, py::arg("residual") = none, py::arg("out") = "f32");
  module.def("native_convolution", &convolution, py::arg("x"), py::arg("w"), py::kw_only(), py::arg("type") = "f32",
             py::arg("isa") = "", py::arg("threads") = 1);
  module.def("native_norm", &norm, py::arg("x"), py::kw_only(), py::arg("eps"), py::arg("centred"),
             py::arg("weight") = none, py::arg("bias") = none, py::arg("scale") = none, py::arg("shift") = none,
             py::arg("residual") = none, py::arg("relu") = false, py::arg("isa") = "");
  module.def("native_attention", &attention, py::arg("q"), py::arg("k"), py::arg("v"), py::kw_only(), py::arg("heads"),
             py::arg("kv_heads"), py::arg("scale"), py::arg("causal") = -1, py::arg("type") = "f32",
             py::arg("isa") = "", py::arg("threads") = 1);
  module.def("native_linear_attention", &linear_attention, py::arg("q"), py::arg("k"), py::arg("v"), py::kw_only(),
             py::arg("dim"), py::arg("type") = "f32", py::arg("isa") = "");
  module.def("native_depthwise", &depthwise, py::arg("x"), py::arg("weight"), py::kw_only(), py::arg("bias") = none,
             py::arg("glu") = false, py::arg("type") = "f32", py::arg("isa") = "");
});

}  // namespace
