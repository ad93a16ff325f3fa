// Norms, linear attention and the depthwise convolution of GLUMBConv for benchmarks.
#include "prepared.h"

namespace spar::bindings {
namespace {

using namespace cpu;

// One norm over rows of the residual stream, whose result is what the next product reads.
Slot normed(Prepared& p, const Norm& norm, std::vector<int64_t> shape, int64_t rows) {
  const Buffer x = p.rows(Type::f32, shape), out = p.rows(p.activations, shape);
  Norm mine = norm;
  mine.in = x.view;
  mine.out = out.view;
  mine.width = shape.back();
  return {{{"x", x}}, out, [mine, rows](Run& run) { run.norm(mine, rows); }};
}

// (x - mean) / sqrt(variance + 1e-6) * (1 + scale) + shift, x [batch, tokens, width]; shift and scale [batch, width].
std::function<Slot()> layer_norm_modulate(Prepared& p, const Setup& setup) {
  p.refuse_quantized(setup);
  const int64_t batch = setup.size("batch"), tokens = setup.size("tokens"), width = setup.size("width");
  Norm norm;
  norm.eps = 1e-6f;
  norm.shift = p.kept(setup.weight("shift", {batch, width}), batch * width);
  norm.scale = p.kept(setup.weight("scale", {batch, width}), batch * width);
  norm.group_rows = tokens;
  norm.group_stride = width;
  return [=, &p] { return normed(p, norm, {batch, tokens, width}, batch * tokens); };
}

// x / sqrt(mean(x^2) + 1e-6) * weight, x [rows, width].
std::function<Slot()> rms_norm(Prepared& p, const Setup& setup) {
  p.refuse_quantized(setup);
  const int64_t rows = setup.size("rows"), width = setup.size("width");
  Norm norm;
  norm.eps = 1e-6f;
  norm.centred = false;
  norm.weight = p.kept(setup.weight("weight", {width}), width);
  return [=, &p] { return normed(p, norm, {rows, width}, rows); };
}

// engine/relu_linear_attention.h, as the kernels of the native backend do it.
std::function<Slot()> relu_linear_attention(Prepared& p, const Setup& setup) {
  p.refuse_quantized(setup);
  const int64_t batch = setup.size("batch"), heads = setup.size("heads"), tokens = setup.size("tokens"),
                dim = setup.size("head_dim");
  return [=, &p] {
    const auto buffer = [&] { return p.heads(batch, heads, tokens, dim); };
    const Buffer q = buffer(), k = buffer(), v = buffer(), out = buffer();
    LinearAttention core;
    core.q = q.view;
    core.k = k.view;
    core.v = v.view;
    core.out = out.view;
    core.tokens = tokens;
    core.dim = dim;
    Slot slot{{{"query", q}, {"key", k}, {"value", v}}, out, {}};
    slot.call = [=](Run& run) {
      const int64_t scratch = round_up(linear_scratch(dim), 64);
      char* memory = run.arena.take_bytes(static_cast<size_t>(scratch * run.seat.threads()));
      run.each(batch * heads, [&](int64_t i, int worker) {
        run.kernels.linear_attention(core, i / heads * tokens, i % heads, memory + worker * scratch);
      });
    };
    return slot;
  };
}

// a * SiLU(g), (a, g) the halves of the depthwise 3x3 of x [pictures, height, width, 2 hidden] plus bias [2 hidden];
// weight [9, 2 hidden].
std::function<Slot()> depthwise_glu(Prepared& p, const Setup& setup) {
  p.refuse_quantized(setup);
  const int64_t pictures = setup.size("pictures"), height = setup.size("height"), width = setup.size("width"),
                hidden = setup.size("hidden");
  Depthwise core;
  core.weight = p.kept(setup.weight("weight", {9, 2 * hidden}), 18 * hidden);
  core.bias = p.kept(setup.weight("bias", {2 * hidden}), 2 * hidden);
  core.height = height;
  core.width = width;
  core.channels = 2 * hidden;
  core.glu = true;
  return [=, &p] {
    const Buffer x = p.rows(p.activations, {pictures, height, width, 2 * hidden}),
                 out = p.rows(p.activations, {pictures, height, width, hidden});
    Depthwise mine = core;
    mine.in = x.view;
    mine.out = out.view;
    Slot slot{{{"x", x}}, out, {}};
    slot.call = [=](Run& run) {
      run.each(pictures * height, [&](int64_t line, int) { run.kernels.depthwise(mine, line); });
    };
    return slot;
  };
}

const Preparation rows[] = {{"layer_norm_modulate", layer_norm_modulate}, {"rms_norm", rms_norm},
                            {"relu_linear_attention", relu_linear_attention}, {"depthwise_glu", depthwise_glu}};

}  // namespace
}  // namespace spar::bindings
