#include "model/decoder.h"

#include <algorithm>
#include <string>

#include "engine/error.h"

namespace spar::cpu {
namespace {

constexpr float kEps = 1e-5f;

// x = x + RMS(y) * weight + bias
void add_normed(Run& run, const View& y, const Pixels& p, const float* weight, const float* bias) {
  Norm norm;
  norm.in = y;
  norm.out = norm.residual = p.x;
  norm.width = p.channels;
  norm.eps = kEps;
  norm.centred = false;
  norm.weight = weight;
  norm.bias = bias;
  run.norm(norm, p.count());
}

}  // namespace

EfficientViTBlock::EfficientViTBlock(Loader& load, const std::string& prefix, int64_t channels, int64_t head_dim,
                                     const std::vector<int64_t>& scales)
    : channels_(channels), head_dim_(head_dim), hidden_(4 * channels) {
  const int64_t heads = channels / head_dim;
  // The projections hold heads of query, key, value in turn; here all queries come first, then keys, then values.
  const auto source = [=](int64_t row) {
    const int64_t role = row / channels, head = row % channels / head_dim;
    return (head * 3 + role) * head_dim + row % head_dim;
  };
  const std::string at = prefix + "attn.";
  const Tensor* parts[] = {&load.tensor(at + "to_q.weight"), &load.tensor(at + "to_k.weight"), &load.tensor(at + "to_v.weight")};
  const auto row = [&](int64_t n, float* to) {
    const int64_t from = source(n);
    parts[from / channels]->read(from % channels * channels, channels, to);
  };
  qkv_ = load.packed(3 * channels, channels, row, nullptr, load.fine());
  for (size_t i = 0; i < scales.size(); ++i) {
    const std::string scale = at + "to_qkv_multiscale." + std::to_string(i) + ".";
    if (scales[i] % 2 == 0 || scales[i] > kMostDepthwise)
      throw InputError("decoder: a scale of kernel " + std::to_string(scales[i]) + " is not supported; odd ones up to " +
                       std::to_string(kMostDepthwise) + " are");
    Scale made{static_cast<int>(scales[i]), load.depthwise(scale + "proj_in.weight", source), {}};
    const Tensor& weight = load.tensor(scale + "proj_out.weight");
    for (int64_t g = 0; g < 3 * heads; ++g)
      made.groups.push_back(load.packed(
          head_dim, head_dim,
          [&](int64_t n, float* to) { weight.read(source(g * head_dim + n) * head_dim, head_dim, to); }, nullptr, load.fine()));
    scales_.push_back(std::move(made));
  }
  out_ = load.linear(at + "to_out", load.fine());
  attention_norm_ = load.vector(at + "norm_out.weight");
  attention_bias_ = load.vector(at + "norm_out.bias");
  const std::string ff = prefix + "conv_out.";
  up_ = load.linear(ff + "conv_inverted", load.fine());
  depth_weight_ = load.depthwise(ff + "conv_depth.weight", [](int64_t c) { return c; });
  depth_bias_ = load.vector(ff + "conv_depth.bias");
  down_ = load.linear(ff + "conv_point", load.fine());
  norm_ = load.vector(ff + "norm.weight");
  bias_ = load.vector(ff + "norm.bias");
}

void EfficientViTBlock::attention(Run& run, const Pixels& p) const {
  Frame frame(run.arena);
  const int64_t count = p.count(), pixels = p.height * p.width, heads = channels_ / head_dim_;
  const int64_t sets = 1 + static_cast<int64_t>(scales_.size());
  const View mixed = run.act(count, sets * channels_), raw = run.act(count, 3 * channels_);
  const View local = run.act(count, 3 * channels_), scaled = run.act(count, 3 * channels_);
  const int64_t scratch = round_up(linear_scratch(head_dim_), 64);
  char* memory = run.arena.take_bytes(static_cast<size_t>(run.seat.threads()) * std::max<size_t>(scratch, kGemmScratch));
  run.linear(qkv_, p.x, count, raw);
  for (int64_t set = 0; set < sets; ++set) {
    View qkv = raw;
    if (set > 0) {
      const Scale& scale = scales_[static_cast<size_t>(set - 1)];
      qkv = scaled;
      Depthwise depthwise;
      depthwise.in = raw;
      depthwise.out = local;
      depthwise.weight = scale.depth;
      depthwise.height = p.height;
      depthwise.width = p.width;
      depthwise.channels = 3 * channels_;
      depthwise.kernel = scale.kernel;
      run.each(p.pictures * p.height, [&](int64_t line, int) { run.kernels.depthwise(depthwise, line); });
      run.each_rows(count, 96, [&](int64_t first, int64_t rows, int worker) {
        for (size_t g = 0; g < scale.groups.size(); ++g) {
          const int64_t column = static_cast<int64_t>(g) * head_dim_;
          Gemm product;
          product.a = local.columns(column);
          product.w = &scale.groups[g];
          product.m = count;
          product.end.out = scaled.columns(column);
          run.kernels.gemm(product, first, rows, 0, product.w->panels(), memory + worker * kGemmScratch);
        }
      });
    }
    LinearAttention core;
    core.q = qkv;
    core.k = qkv.columns(channels_);
    core.v = qkv.columns(2 * channels_);
    core.out = mixed.columns(set * channels_);
    core.tokens = pixels;
    core.dim = head_dim_;
    run.each(p.pictures * heads, [&](int64_t i, int worker) {
      run.kernels.linear_attention(core, i / heads * pixels, i % heads, memory + worker * scratch);
    });
  }
  const View y = run.f32(count, channels_);
  run.linear(out_, mixed, count, y);
  add_normed(run, y, p, attention_norm_, attention_bias_);
}

void EfficientViTBlock::feed_forward(Run& run, const Pixels& p) const {
  Frame frame(run.arena);
  const int64_t count = p.count();
  const View y = run.f32(count, channels_), wide = run.act(count, 2 * hidden_), narrow = run.act(count, hidden_);
  run.linear(up_, p.x, count, wide, Act::silu);
  Depthwise depthwise;
  depthwise.in = wide;
  depthwise.out = narrow;
  depthwise.weight = depth_weight_;
  depthwise.bias = depth_bias_;
  depthwise.height = p.height;
  depthwise.width = p.width;
  depthwise.channels = 2 * hidden_;
  depthwise.glu = true;
  run.each(p.pictures * p.height, [&](int64_t line, int) { run.kernels.depthwise(depthwise, line); });
  run.linear(down_, narrow, count, y);
  add_normed(run, y, p, norm_, bias_);
}

void EfficientViTBlock::run(Run& run, const Pixels& p, const std::string& name) const {
  attention(run, p);
  run.tap_picture(name + ".attn", p.x, p.pictures, p.height * p.width, channels_,
                  {p.pictures, channels_, p.height, p.width});
  feed_forward(run, p);
}

}  // namespace spar::cpu
