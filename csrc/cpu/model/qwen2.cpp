#include "model/qwen2.h"

#include <cmath>
#include <cstring>

namespace spar::cpu {

Qwen2::Qwen2(const Config& config, Loader& load, const std::string& prefix, int64_t depth, Type weights)
    : width_(config.whole("language.width")),
      heads_(config.whole("language.heads")),
      kv_heads_(config.whole("language.kv_heads")),
      eps_(config.real("language.eps")),
      theta_(config.numbers.at("language.rope_theta")) {
  for (int64_t i = 0; i < depth; ++i) {
    const std::string at = prefix + "layers." + std::to_string(i) + ".", attention = at + "self_attn.";
    Layer layer;
    layer.qkv = load.stacked({attention + "q_proj", attention + "k_proj", attention + "v_proj"}, weights);
    layer.out = load.linear(attention + "o_proj", weights);
    layer.gate_up = load.gated(at + "mlp.gate_proj", at + "mlp.up_proj", weights);
    layer.down = load.linear(at + "mlp.down_proj", weights);
    layer.input_norm = load.vector(at + "input_layernorm.weight");
    layer.mlp_norm = load.vector(at + "post_attention_layernorm.weight");
    layers_.push_back(layer);
  }
  norm_ = load.vector(prefix + "norm.weight");
}

Qwen2::Rotation Qwen2::rotation(int64_t past, int64_t tokens) const {
  const int64_t half = head_dim() / 2;
  Rotation r{std::vector<float>(static_cast<size_t>(tokens * half)), std::vector<float>(static_cast<size_t>(tokens * half))};
  for (int64_t i = 0; i < half; ++i) {
    const double turn = std::pow(theta_, -static_cast<double>(i) / static_cast<double>(half));
    for (int64_t t = 0; t < tokens; ++t) {
      const double angle = static_cast<double>(past + t) * turn;
      r.cos[static_cast<size_t>(t * half + i)] = static_cast<float>(std::cos(angle));
      r.sin[static_cast<size_t>(t * half + i)] = static_cast<float>(std::sin(angle));
    }
  }
  return r;
}

namespace {

// Turns the pairs (i, i + half) of every head of a row.
void rotate(float* x, int64_t heads, int64_t half, const float* cos, const float* sin) {
  for (int64_t h = 0; h < heads; ++h, x += 2 * half)
    for (int64_t i = 0; i < half; ++i) {
      const float first = x[i], second = x[half + i];
      x[i] = first * cos[i] - second * sin[i];
      x[half + i] = second * cos[i] + first * sin[i];
    }
}

}  // namespace

void Qwen2::layer(Run& run, int64_t index, View& x, int64_t batch, int64_t tokens, const Rotation& rotation,
                  const KeyValueStore& store, int64_t group, int64_t past, bool causal,
                  const std::vector<int64_t>* wanted) const {
  const Layer& layer = layers_[static_cast<size_t>(index)];
  const int64_t dim = head_dim(), half = dim / 2, kv_width = kv_heads_ * dim, rows = batch * tokens;
  const int64_t finished = wanted ? static_cast<int64_t>(wanted->size()) : tokens;
  View kept = x;
  if (wanted) kept = run.f32(batch * finished, width_);
  Frame frame(run.arena);
  Norm norm;
  norm.in = x;
  norm.width = width_;
  norm.eps = eps_;
  norm.centred = false;
  norm.weight = layer.input_norm;
  const View qkv = run.f32(rows, width_ + 2 * kv_width), query = run.act(rows, width_);
  View mixed = run.act(rows, width_);
  Epilogue end;
  end.out = qkv;
  run.norm_linear(norm, layer.qkv, rows, end);
  run.each_rows(rows, 8, [&](int64_t first, int64_t count, int) {
    for (int64_t r = first; r < first + count; ++r) {
      const float *cos = &rotation.cos[static_cast<size_t>(r % tokens * half)],
                  *sin = &rotation.sin[static_cast<size_t>(r % tokens * half)];
      rotate(qkv.row<float>(r), heads_ + kv_heads_, half, cos, sin);
    }
  });
  run.convert(qkv, query, rows, width_);
  run.each(batch * kv_heads_, [&](int64_t i, int) {
    const View keys = qkv.rows(i / kv_heads_ * tokens).columns(width_);
    store.put(group, i / kv_heads_, i % kv_heads_, keys, keys.columns(kv_width), past, tokens);
  });
  for (int64_t b = 0; b < batch; ++b) {
    const KeyValues kv = store.at(group, b);
    Attention attention;
    attention.q = query.rows(b * tokens);
    attention.out = mixed.rows(b * tokens);
    attention.kv = &kv;
    attention.tokens = tokens;
    attention.heads = heads_;
    attention.kv_heads = kv_heads_;
    attention.keys = past + tokens;
    attention.causal = causal ? past : -1;
    attention.scale = 1.0f / std::sqrt(static_cast<float>(dim));
    join_one_token(attention, dim);
    run.attention(attention);
  }
  if (wanted) {
    const View some = run.act(batch * finished, width_);
    const int64_t size = size_of(mixed.type);
    run.each(batch * finished, [&](int64_t r, int) {
      const int64_t from = r / finished * tokens + (*wanted)[static_cast<size_t>(r % finished)];
      std::memcpy(kept.row<float>(r), x.row<float>(from), static_cast<size_t>(width_) * 4);
      std::memcpy(some.row<char>(0) + r * some.stride * size, mixed.row<char>(0) + from * mixed.stride * size,
                  static_cast<size_t>(width_ * size));
    });
    mixed = some;
    x = kept;
  }
  end.residual = end.out = x;
  run.linear(layer.out, mixed, batch * finished, end);

  norm.in = x;
  norm.weight = layer.mlp_norm;
  Epilogue gated;
  gated.act = Act::glu_silu;
  gated.out = run.act(batch * finished, layer.gate_up.n / 2);
  run.norm_linear(norm, layer.gate_up, batch * finished, gated);
  run.linear(layer.down, gated.out, batch * finished, end);
}

void Qwen2::norm(Run& run, const View& x, int64_t rows, const View& out) const {
  Norm norm;
  norm.in = x;
  norm.out = out;
  norm.width = width_;
  norm.eps = eps_;
  norm.centred = false;
  norm.weight = norm_;
  run.norm(norm, rows);
}

}  // namespace spar::cpu
