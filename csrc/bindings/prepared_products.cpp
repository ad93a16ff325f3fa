// Packed products and convolutions for benchmarks.
#include "model/pictures.h"
#include "native_pack.h"
#include "prepared.h"

namespace spar::bindings {
namespace {

using namespace cpu;

constexpr int64_t kGated = kPanel / 2;  // gates of a panel, then as many values

Act act_of(const Setup& setup) {
  constexpr Act acts[] = {Act::none, Act::silu, Act::glu_silu};
  const int64_t index = setup.size("act", 0);
  if (index > 2) setup.fail("act=" + std::to_string(index) + "; it must be 0 (none), 1 (SiLU) or 2 (gated SiLU)");
  return acts[index];
}

// act(x [rows, depth] weight [columns, depth]^T + bias [columns]); gated SiLU: the first half of the columns are gates.
std::function<Slot()> product(Prepared& p, const Setup& setup) {
  const int64_t rows = setup.size("rows"), n = setup.size("columns"), k = setup.size("depth");
  const Act act = act_of(setup);
  const bool gated = act == Act::glu_silu;
  if (gated && n % kPanel) setup.fail("columns=" + std::to_string(n) + "; with act=2 it must be a multiple of 32");
  const auto source = [=](int64_t column) {  // gates and values alternate by halves of a panel
    const int64_t half = column % kPanel / kGated, within = column / kPanel * kGated + column % kGated;
    return gated ? half * (n / 2) + within : column;
  };
  const float *weight = setup.weight("weight", {n, k}), *bias = setup.weight("bias", {n});
  PackedLinear w;
  {
    Pool::Seat seat(p.pool);
    w = packed(p.arena, seat, p.weights, n, k, [=](int64_t column, float* to) { std::copy_n(weight + source(column) * k, k, to); });
  }
  float* ordered = p.arena.take<float>(n);
  for (int64_t column = 0; column < n; ++column) ordered[column] = bias[source(column)];
  w.bias = ordered;
  return [&p, w, rows, k, act, width = gated ? n / 2 : n] {
    const Buffer x = p.rows(p.activations, {rows, k}, w.k), out = p.rows(p.activations, {rows, width});
    Slot slot{{{"x", x}}, out, {}};
    slot.call = [w, rows, act, x = x.view, out = out.view](Run& run) { run.linear(w, x, rows, out, act); };
    return slot;
  };
}

// 3x3 over x [pictures, height, width, channels], zeros outside; weight [columns, channels, 3, 3], bias [columns].
std::function<Slot()> convolution(Prepared& p, const Setup& setup) {
  p.refuse_quantized(setup);
  const int64_t pictures = setup.size("pictures"), height = setup.size("height"), width = setup.size("width"),
                channels = setup.size("channels"), n = setup.size("columns");
  const float *weight = setup.weight("weight", {n, channels, 3, 3}), *bias = setup.weight("bias", {n});
  if (channels % per_lane(p.weights))
    setup.fail("channels=" + std::to_string(channels) + "; it must be a multiple of " + std::to_string(per_lane(p.weights)));
  PackedLinear w;
  {
    Pool::Seat seat(p.pool);
    w = packed(p.arena, seat, p.weights, n, 9 * channels, by_taps(weight, channels, 9));
  }
  w.bias = p.kept(bias, n);
  const Taps taps = taps_of(height, width, channels, 3, -1, -1, p.rows(p.activations, {1, channels}).view.data);
  return [=, &p] {
    const Buffer x = p.rows(p.activations, {pictures, height, width, channels}),
                 out = p.rows(p.activations, {pictures, height, width, n});
    Slot slot{{{"x", x}}, out, {}};
    slot.call = [w, taps, rows = pictures * height * width, x = x.view, out = out.view](Run& run) {
      Epilogue end;
      end.out = out;
      run.linear(w, x, rows, end, &taps);
    };
    return slot;
  };
}

const Preparation products[] = {{"packed_product", product}, {"convolution", convolution}};

}  // namespace
}  // namespace spar::bindings
