#include "model/guidance.h"

#include <cmath>

namespace spar::cpu {
namespace {

constexpr int64_t kWaves = 256;

std::string block_name(int64_t index) { return "model.dit.transformer_blocks." + std::to_string(index) + "."; }

}  // namespace

Context::Context(const Config& config, Loader& load)
    : depth_(config.whole("dit.depth")),
      width_(config.whole("dit.width")),
      heads_(config.whole("dit.cross_heads")),
      caption_width_(config.whole("dit.caption_width")) {
  first_ = load.linear("model.dit.caption_projection.linear_1", load.fine());
  second_ = load.linear("model.dit.caption_projection.linear_2", load.fine());
  norm_ = load.vector("model.dit.caption_norm.weight");
  for (int64_t i = 0; i < depth_; ++i) {
    keys_values_.push_back(load.stacked({block_name(i) + "attn2.to_k", block_name(i) + "attn2.to_v"}, load.fine()));
    keys_values_.back().bias = nullptr;
  }
}

void Context::run(Run& run, const Inputs& inputs, Outputs& outputs) const {
  const Input& caption = inputs.at("caption");
  const int64_t branches = caption.shape[0], tokens = caption.shape[1], rows = branches * tokens;
  const View given{const_cast<float*>(caption.f32), Type::f32, caption_width_};
  const View hidden = run.act(rows, width_), projected = run.f32(rows, width_), normed = run.act(rows, width_);
  run.linear(first_, given, rows, hidden, Act::gelu_tanh);
  run.linear(second_, hidden, rows, projected);
  run.tap("caption.projected", projected, width_, {branches, tokens, width_});
  Norm norm;
  norm.in = projected;
  norm.out = normed;
  norm.width = width_;
  norm.eps = 1e-5f;
  norm.centred = false;
  norm.weight = norm_;
  run.norm(norm, rows);
  run.tap("caption.normed", normed, width_, {branches, tokens, width_});

  const int64_t dim = width_ / heads_;
  auto context = std::make_shared<CrossContext>(run.activations, depth_, branches, heads_, dim, tokens);
  const View both = run.act(rows, 2 * width_);
  for (int64_t i = 0; i < depth_; ++i) {
    run.check_cancelled();
    run.linear(keys_values_[static_cast<size_t>(i)], normed, rows, both);
    run.each(branches * heads_, [&](int64_t index, int) {
      const View mine = both.rows(index / heads_ * tokens);
      context->store.put(i, index / heads_, index % heads_, mine, mine.columns(width_), 0, tokens);
    });
  }
  outputs.cross = std::move(context);
}

Modulation::Modulation(const Config& config, Loader& load)
    : depth_(config.whole("dit.depth")), width_(config.whole("dit.width")) {
  const std::string time = "model.dit.time_embed.";
  first_ = load.linear(time + "emb.timestep_embedder.linear_1", load.fine());
  second_ = load.linear(time + "emb.timestep_embedder.linear_2", load.fine());
  shared_ = load.linear(time + "linear", load.fine());
  std::vector<std::string> names;
  for (int64_t i = 0; i < depth_; ++i) names.push_back(block_name(i) + "scale_shift_table");
  tables_ = load.vector_of(names);
  final_table_ = load.vector("model.dit.scale_shift_table");
}

void Modulation::run(Run& run, const Inputs& inputs, Outputs& outputs) const {
  const Input& timesteps = inputs.at("timesteps");
  const int64_t steps = timesteps.shape[0];
  const View waves = run.f32(steps, kWaves), hidden = run.f32(steps, width_), embedded = run.f32(steps, width_);
  const View active = run.f32(steps, width_), shared = run.f32(steps, 6 * width_);
  for (int64_t s = 0; s < steps; ++s)
    for (int64_t j = 0; j < kWaves / 2; ++j) {
      const double angle = timesteps.f32[s] * std::exp(-std::log(10000.0) * static_cast<double>(j) / (kWaves / 2));
      waves.row<float>(s)[j] = static_cast<float>(std::cos(angle));
      waves.row<float>(s)[kWaves / 2 + j] = static_cast<float>(std::sin(angle));
    }
  run.linear(first_, waves, steps, hidden, Act::silu);
  run.linear(second_, hidden, steps, embedded);
  run.tap("time.embedded", embedded, width_, {steps, width_});
  for (int64_t s = 0; s < steps; ++s)
    for (int64_t c = 0; c < width_; ++c) {
      const float e = embedded.row<float>(s)[c];
      active.row<float>(s)[c] = e / (1.0f + std::exp(-e));
    }
  run.linear(shared_, active, steps, shared);
  run.tap("time.modulation", shared, 6 * width_, {steps, 6 * width_});

  float* modulation = outputs.make("modulation", {steps, depth_, 6, width_});
  float* final = outputs.make("final_modulation", {steps, 2, width_});
  const auto add = [](const float* table, const float* row, int64_t width, float* to) {
    for (int64_t i = 0; i < width; ++i) to[i] = table[i] + row[i];
  };
  const int64_t six = 6 * width_;
  run.each(steps * depth_, [&](int64_t i, int) {
    add(tables_ + i % depth_ * six, shared.row<float>(i / depth_), six, modulation + i * six);
  });
  for (int64_t i = 0; i < 2 * steps; ++i)
    add(final_table_ + i % 2 * width_, embedded.row<float>(i / 2), width_, final + i * width_);
}

}  // namespace spar::cpu
