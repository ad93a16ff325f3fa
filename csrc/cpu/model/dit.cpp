#include "model/dit.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "engine/error.h"
#include "model/pictures.h"

namespace spar::cpu {

Dit::Dit(const Config& config, Loader& load)
    : depth_(config.whole("dit.depth")),
      width_(config.whole("dit.width")),
      heads_(config.whole("dit.heads")),
      head_dim_(config.whole("dit.head_dim")),
      cross_heads_(config.whole("dit.cross_heads")),
      hidden_(config.whole("dit.mlp_width")),
      channels_(config.whole("dit.in_channels")),
      sample_size_(config.whole("dit.sample_size")),
      positions_(config.whole("dit.positions") != 0),
      eps_(config.real("dit.eps")) {
  const std::string dit = "model.dit.";
  patch_ = load.linear(dit + "patch_embed.proj", load.fine());
  for (int64_t i = 0; i < depth_; ++i) {
    const std::string at = dit + "transformer_blocks." + std::to_string(i) + ".";
    Block b;
    b.qkv = load.stacked({at + "attn1.to_q", at + "attn1.to_k", at + "attn1.to_v"}, load.large());
    b.self_out = load.linear(at + "attn1.to_out.0", load.large());
    b.query = load.linear(at + "attn2.to_q", load.large());
    b.cross_out = load.linear(at + "attn2.to_out.0", load.large());
    // The context's values lack their bias; it passes through the attention unchanged (E14).
    b.cross_out.bias = load.made(width_, [&](float* to) {
      const Tensor& weight = load.tensor(at + "attn2.to_out.0.weight");
      std::vector<float> bias(static_cast<size_t>(width_)), row(bias.size());
      load.tensor(at + "attn2.to_v.bias").read(0, width_, bias.data());
      load.tensor(at + "attn2.to_out.0.bias").read(0, width_, to);
      for (int64_t n = 0; n < width_; ++n) {
        weight.read(n * width_, width_, row.data());
        double total = to[n];
        for (int64_t k = 0; k < width_; ++k) total += static_cast<double>(row[static_cast<size_t>(k)]) * bias[static_cast<size_t>(k)];
        to[n] = static_cast<float>(total);
      }
    });
    b.up = load.linear(at + "ff.conv_inverted", load.large());
    b.depth_weight = load.depthwise(at + "ff.conv_depth.weight", [](int64_t c) { return c; });
    b.depth_bias = load.vector(at + "ff.conv_depth.bias");
    b.down = load.linear(at + "ff.conv_point", load.large());
    blocks_.push_back(b);
  }
  out_ = load.linear(dit + "proj_out", load.fine());
}

struct Dit::Step {
  Run& run;
  int64_t batch, branches, height, width, pixels;
  int64_t groups;               // batch before the branches part, branches after
  std::vector<int64_t> picks;   // batch row of each branch
  const float* modulation;      // [groups, depth, 6, width]
  const float* final_modulation;
  std::vector<std::pair<const CrossContext*, int64_t>> contexts;  // of each branch: whose keys, and which of its branches
  std::vector<int64_t> lengths;
  View x, wide, narrow;         // residual stream f32; [rows, 5 width] and [rows, width or hidden] activations

  int64_t rows() const { return groups * pixels; }
};

namespace {

// Sines, then cosines of one axis, [size, width]; the axis always spans `base` units, of which bases from 128 on use
// one in base / 64.
std::vector<float> axis_table(int64_t size, int64_t base, int64_t width) {
  const int64_t half = width / 2;
  const double scale = static_cast<double>(base) / static_cast<double>(std::max<int64_t>(base / 64, 1));
  std::vector<float> table(static_cast<size_t>(size * width));
  for (int64_t i = 0; i < half; ++i) {
    const double omega = std::pow(10000.0, -static_cast<double>(i) / static_cast<double>(half));
    for (int64_t p = 0; p < size; ++p) {
      const double angle = static_cast<double>(p) * scale / static_cast<double>(size) * omega;
      table[static_cast<size_t>(p * width + i)] = static_cast<float>(std::sin(angle));
      table[static_cast<size_t>(p * width + half + i)] = static_cast<float>(std::cos(angle));
    }
  }
  return table;
}

}  // namespace

void Dit::embed(Step& s, const float* latent) const {
  Run& run = s.run;
  Frame frame(run.arena);
  const View rows = run.act(s.rows(), channels_);
  to_rows(run, latent, rows, s.batch, channels_, s.pixels);
  Epilogue end;
  end.out = s.x;
  if (positions_) {
    const auto across = axis_table(s.width, sample_size_, width_ / 2), down = axis_table(s.height, sample_size_, width_ / 2);
    const size_t half = static_cast<size_t>(width_ / 2);
    run.each_rows(s.rows(), 32, [&](int64_t first, int64_t count, int) {
      for (int64_t r = first; r < first + count; ++r) {
        const size_t column = static_cast<size_t>(r % s.width), line = static_cast<size_t>(r / s.width % s.height);
        std::memcpy(s.x.row<float>(r), &across[column * half], half * 4);
        std::memcpy(s.x.row<float>(r) + half, &down[line * half], half * 4);
      }
    });
    run.tap("pos_embed", s.x, width_, {1, s.pixels, width_});
    end.residual = s.x;
  }
  run.linear(patch_, rows, s.rows(), end);
  run.tap("patch_embed", s.x, width_, {s.batch, s.pixels, width_});
}

void Dit::self_attention(Step& s, const Block& b, int64_t index) const {
  Run& run = s.run;
  const float* modulation = s.modulation + index * 6 * width_;
  Norm norm;
  norm.in = s.x;
  norm.width = width_;
  norm.eps = eps_;
  norm.shift = modulation;
  norm.scale = modulation + width_;
  norm.group_rows = s.pixels;
  norm.group_stride = depth_ * 6 * width_;
  Epilogue end;
  end.out = s.wide;
  run.norm_linear(norm, b.qkv, s.rows(), end);

  Frame frame(run.arena);
  LinearAttention core;
  core.q = s.wide;
  core.k = s.wide.columns(width_);
  core.v = s.wide.columns(2 * width_);
  core.out = s.narrow;
  core.tokens = s.pixels;
  core.dim = head_dim_;
  const int64_t scratch = round_up(linear_scratch(head_dim_), 64);
  char* memory = run.arena.take_bytes(static_cast<size_t>(scratch * run.seat.threads()));
  run.each(s.groups * heads_, [&](int64_t i, int worker) {
    run.kernels.linear_attention(core, i / heads_ * s.pixels, i % heads_, memory + worker * scratch);
  });
  if (run.tapping()) {
    const View plain = run.f32(s.rows(), width_);
    run.linear(b.self_out, s.narrow, s.rows(), plain);
    run.tap("block_" + std::to_string(index) + ".attn1", plain, width_, {s.groups, s.pixels, width_});
  }
  end.gate = modulation + 2 * width_;
  end.gate_rows = s.pixels;
  end.gate_stride = depth_ * 6 * width_;
  end.residual = end.out = s.x;
  run.linear(b.self_out, s.narrow, s.rows(), end);
}

// From one row of pictures for each latent to one for each branch: until here branches of a latent are equal (E7).
void Dit::spread(Step& s) const {
  Run& run = s.run;
  const View from = s.x;
  s.groups = s.branches;
  s.x = run.f32(s.rows(), width_);
  run.each(s.branches, [&](int64_t branch, int) {
    const int64_t pick = s.picks[static_cast<size_t>(branch)];
    for (int64_t p = 0; p < s.pixels; ++p)
      std::memcpy(s.x.row<float>(branch * s.pixels + p), from.row<float>(pick * s.pixels + p),
                  static_cast<size_t>(width_) * 4);
  });
  const auto gather = [&](const float* table, int64_t row) {
    float* to = run.arena.take<float>(s.branches * row);
    for (int64_t branch = 0; branch < s.branches; ++branch)
      std::memcpy(to + branch * row, table + s.picks[static_cast<size_t>(branch)] * row, static_cast<size_t>(row) * 4);
    return to;
  };
  s.modulation = gather(s.modulation, depth_ * 6 * width_);
  s.final_modulation = gather(s.final_modulation, 2 * width_);
}

void Dit::cross_attention(Step& s, const Block& b, int64_t index) const {
  Run& run = s.run;
  const int64_t dim = width_ / cross_heads_;
  run.linear(b.query, s.x, s.rows(), s.wide);
  for (int64_t branch = 0; branch < s.branches; ++branch) {
    const auto [context, row] = s.contexts[static_cast<size_t>(branch)];
    const KeyValues kv = context->store.at(index, row);
    Attention attention;
    attention.q = s.wide.rows(branch * s.pixels);
    attention.out = s.narrow.rows(branch * s.pixels);
    attention.kv = &kv;
    attention.tokens = s.pixels;
    attention.heads = attention.kv_heads = cross_heads_;
    attention.keys = s.lengths[static_cast<size_t>(branch)];
    attention.scale = 1.0f / std::sqrt(static_cast<float>(dim));
    run.attention(attention);
  }
  if (run.tapping()) {
    Frame frame(run.arena);
    const View plain = run.f32(s.rows(), width_);
    run.linear(b.cross_out, s.narrow, s.rows(), plain);
    run.tap("block_" + std::to_string(index) + ".attn2", plain, width_, {s.groups, s.pixels, width_});
  }
  Epilogue end;
  end.residual = end.out = s.x;
  run.linear(b.cross_out, s.narrow, s.rows(), end);
}

void Dit::feed_forward(Step& s, const Block& b, int64_t index) const {
  Run& run = s.run;
  const float* modulation = s.modulation + (index * 6 + 3) * width_;
  Norm norm;
  norm.in = s.x;
  norm.width = width_;
  norm.eps = eps_;
  norm.shift = modulation;
  norm.scale = modulation + width_;
  norm.group_rows = s.pixels;
  norm.group_stride = depth_ * 6 * width_;
  Epilogue end;
  end.act = Act::silu;
  end.out = s.wide;
  run.norm_linear(norm, b.up, s.rows(), end);
  Depthwise depthwise;
  depthwise.in = s.wide;
  depthwise.out = s.narrow;
  depthwise.weight = b.depth_weight;
  depthwise.bias = b.depth_bias;
  depthwise.height = s.height;
  depthwise.width = s.width;
  depthwise.channels = 2 * hidden_;
  depthwise.glu = true;
  run.each(s.groups * s.height, [&](int64_t line, int) { run.kernels.depthwise(depthwise, line); });
  if (run.tapping()) {
    Frame frame(run.arena);
    const View plain = run.f32(s.rows(), width_);
    run.linear(b.down, s.narrow, s.rows(), plain);
    run.tap_picture("block_" + std::to_string(index) + ".ff", plain, s.groups, s.pixels, width_,
                    {s.groups, width_, s.height, s.width});
  }
  Epilogue out;
  out.gate = modulation + 2 * width_;
  out.gate_rows = s.pixels;
  out.gate_stride = depth_ * 6 * width_;
  out.residual = out.out = s.x;
  run.linear(b.down, s.narrow, s.rows(), out);
}

void Dit::head(Step& s, float* velocity) const {
  Run& run = s.run;
  Frame frame(run.arena);
  Norm norm;
  norm.in = s.x;
  norm.width = width_;
  norm.eps = eps_;
  if (run.tapping()) {
    norm.out = run.f32(s.rows(), width_);
    run.norm(norm, s.rows());
    run.tap("norm_out", norm.out, width_, {s.groups, s.pixels, width_});
  }
  norm.shift = s.final_modulation;
  norm.scale = s.final_modulation + width_;
  norm.group_rows = s.pixels;
  norm.group_stride = 2 * width_;
  Epilogue end;
  end.out = run.f32(s.rows(), channels_);
  run.norm_linear(norm, out_, s.rows(), end);
  from_rows(run, end.out, velocity, s.branches, channels_, s.pixels);
  run.tap_picture("out", end.out, s.branches, s.pixels, channels_, {s.branches, channels_, s.height, s.width});
}

void Dit::run(Run& run, const Inputs& inputs, Outputs& outputs) const {
  const Input& latent = inputs.at("latent");
  const Input& branches = inputs.at("branches");
  Step s{run, latent.shape[0], branches.shape[0], latent.shape[2], latent.shape[3], latent.shape[2] * latent.shape[3],
         latent.shape[0], {}, inputs.at("modulation").f32, inputs.at("final_modulation").f32,
         {}, {}, {}, {}, {}};
  for (const auto& context : inputs.at("cross_keys").crosses)
    for (int64_t row = 0; row < context->store.inner(); ++row) s.contexts.emplace_back(context.get(), row);
  if (static_cast<int64_t>(s.contexts.size()) != s.branches)
    throw InputError("dit: `cross_keys` have " + std::to_string(s.contexts.size()) + " branches, `branches` has " +
                     std::to_string(s.branches));
  for (int64_t i = 0; i < s.branches; ++i) {
    const int64_t pick = branches.whole[i], length = inputs.at("lengths").whole[i];
    if (pick < 0 || pick >= s.batch)
      throw InputError("dit: `branches` has " + std::to_string(pick) + ", but there are " + std::to_string(s.batch) + " latents");
    const int64_t most = s.contexts[static_cast<size_t>(i)].first->tokens;
    if (length < 1 || length > most)
      throw InputError("dit: `lengths` has " + std::to_string(length) + ", but the keys hold 1 to " + std::to_string(most) +
                       " tokens");
    s.picks.push_back(pick);
    s.lengths.push_back(length);
  }
  const int64_t most = std::max(s.batch, s.branches) * s.pixels;
  s.x = run.f32(s.rows(), width_);
  s.wide = run.act(most, std::max(2 * hidden_, 3 * width_));
  s.narrow = run.act(most, std::max(hidden_, width_));
  embed(s, latent.f32);
  for (int64_t i = 0; i < depth_; ++i) {
    run.check_cancelled();
    const Block& block = blocks_[static_cast<size_t>(i)];
    self_attention(s, block, i);
    if (i == 0) spread(s);
    cross_attention(s, block, i);
    feed_forward(s, block, i);
    run.tap("block_" + std::to_string(i), s.x, width_, {s.groups, s.pixels, width_});
  }
  head(s, outputs.make("velocity", {s.branches, channels_, s.height, s.width}));
}

}  // namespace spar::cpu
