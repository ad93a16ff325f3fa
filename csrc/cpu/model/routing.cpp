#include "model/routing.h"

namespace spar::cpu {

void Routing::run(Run& run, const View& levels, int64_t batch, int64_t rows, const View& to) const {
  Frame frame(run.arena);
  const int64_t width = out.n, count = batch * rows;
  const View hidden = run.act(count, first.n);
  Mix mix;
  mix.levels = levels;
  mix.level_rows = count;
  mix.weights = run.f32(count, depth());
  mix.out = run.f32(count, width);
  mix.scales = scales;
  mix.depth = depth();
  mix.width = width;
  mix.temperature = temperature;
  run.linear(first, levels.rows((depth() - 1) * count), count, hidden, Act::silu);
  run.linear(second, hidden, count, mix.weights);
  run.tap("dtr.logits", mix.weights, depth(), {batch, rows, depth()});
  run.each_rows(count, 8, [&](int64_t begin, int64_t n, int) { run.kernels.mix(mix, begin, n); });
  run.tap("dtr.weights", mix.weights, depth(), {batch, rows, depth()});
  run.tap("dtr.fused", mix.out, width, {batch, rows, width});
  Norm norm;
  norm.in = mix.out;
  norm.width = width;
  norm.eps = 1e-5f;
  norm.weight = norm_weight;
  norm.bias = norm_bias;
  Epilogue end;
  end.out = to;
  run.norm_linear(norm, out, count, end);
  run.tap("dtr.out", to, width, {batch, rows, width});
}

}  // namespace spar::cpu
