#include "model/vision.h"

#include <algorithm>
#include <cmath>
#include <cstring>

namespace spar::cpu {

Vision::Vision(const Config& config, Loader& load)
    : shape_{config.whole("vision.width"), config.whole("vision.heads"), config.whole("vision.mlp_width"),
             config.real("vision.eps")},
      grid_(config.whole("vision.grid")),
      patch_(config.whole("vision.patch_size")) {
  const std::string tower = "model.vision_tower.", embeddings = tower + "embeddings.";
  class_token_ = load.vector(embeddings + "class_embedding");
  positions_ = load.vector(embeddings + "position_embedding");
  patches_ = load.linear(embeddings + "patch_embedding", load.fine());
  for (int64_t i = 0; i < config.whole("vision.depth"); ++i) {
    const std::string at = tower + "encoder.layers." + std::to_string(i) + ".";
    EncoderLayer layer;
    layer.qkv = load.linear(at + "attn.qkv", load.large());
    layer.proj = load.linear(at + "attn.proj", load.large());
    layer.up = load.linear(at + "mlp.fc1", load.large());
    layer.down = load.linear(at + "mlp.fc2", load.large());
    layer.norm1_weight = load.vector(at + "norm1.weight");
    layer.norm1_bias = load.vector(at + "norm1.bias");
    layer.norm2_weight = load.vector(at + "norm2.weight");
    layer.norm2_bias = load.vector(at + "norm2.bias");
    layer.scale1 = load.vector(at + "ls1");
    layer.scale2 = load.vector(at + "ls2");
    layers_.push_back(layer);
  }
  projector_ = NormedMlp(load, "model.multi_modal_projector.", 1e-5f);
}

namespace {

// Four weights of a cubic through the neighbours of a place `t` between the middle two (a = -0.75).
void cubic(double t, double weights[4]) {
  constexpr double a = -0.75;
  const auto near = [&](double d) { return ((a + 2) * d - (a + 3)) * d * d + 1; };
  const auto far = [&](double d) { return ((a * d - 5 * a) * d + 8 * a) * d - 4 * a; };
  weights[0] = far(1 + t);
  weights[1] = near(t);
  weights[2] = near(1 - t);
  weights[3] = far(2 - t);
}

struct Neighbours {
  int64_t at[4];
  double weight[4];
};

Neighbours neighbours(int64_t index, int64_t size, int64_t source) {
  const double place = (static_cast<double>(index) + 0.5) * static_cast<double>(source) / static_cast<double>(size) - 0.5;
  const double whole = std::floor(place);
  Neighbours found;
  cubic(place - whole, found.weight);
  for (int i = 0; i < 4; ++i)
    found.at[i] = std::clamp<int64_t>(static_cast<int64_t>(whole) - 1 + i, 0, source - 1);
  return found;
}

}  // namespace

// The learned table at the grid of this picture: bicubic, not antialiased; itself at the training size.
std::vector<float> Vision::positions(int64_t rows, int64_t columns) const {
  const int64_t width = shape_.width;
  std::vector<float> table(static_cast<size_t>((1 + rows * columns) * width));
  if (rows == grid_ && columns == grid_) {
    std::copy_n(positions_, table.size(), table.begin());
    return table;
  }
  std::copy_n(positions_, width, table.begin());
  for (int64_t y = 0; y < rows; ++y) {
    const Neighbours down = neighbours(y, rows, grid_);
    for (int64_t x = 0; x < columns; ++x) {
      const Neighbours across = neighbours(x, columns, grid_);
      float* to = &table[static_cast<size_t>((1 + y * columns + x) * width)];
      for (int64_t c = 0; c < width; ++c) {
        double total = 0;
        for (int i = 0; i < 4; ++i)
          for (int j = 0; j < 4; ++j)
            total += down.weight[i] * across.weight[j] * positions_[(1 + down.at[i] * grid_ + across.at[j]) * width + c];
        to[c] = static_cast<float>(total);
      }
    }
  }
  return table;
}

void Vision::embed(Run& run, const float* pixels, const View& x, int64_t tiles, int64_t rows, int64_t columns) const {
  Frame frame(run.arena);
  const int64_t count = rows * columns, width = shape_.width, inputs = 3 * patch_ * patch_;
  const int64_t line = columns * patch_, plane = rows * patch_ * line;
  const View gathered = run.f32(count, inputs);
  const auto table = positions(rows, columns);
  for (int64_t t = 0; t < tiles; ++t) {
    const View tokens = x.rows(t * (1 + count));
    for (int64_t c = 0; c < width; ++c) tokens.row<float>(0)[c] = class_token_[c] + table[static_cast<size_t>(c)];
    run.each_rows(count, 8, [&](int64_t first, int64_t n, int) {
      for (int64_t p = first; p < first + n; ++p) {
        std::memcpy(tokens.row<float>(1 + p), &table[static_cast<size_t>((1 + p) * width)], static_cast<size_t>(width) * 4);
        const float* corner = pixels + t * 3 * plane + p / columns * patch_ * line + p % columns * patch_;
        float* to = gathered.row<float>(p);
        for (int64_t channel = 0; channel < 3; ++channel)
          for (int64_t i = 0; i < patch_; ++i, to += patch_)
            std::memcpy(to, corner + channel * plane + i * line, static_cast<size_t>(patch_) * 4);
      }
    });
    Epilogue end;
    end.residual = end.out = tokens.rows(1);
    run.linear(patches_, gathered, count, end);
  }
  run.tap("embeddings", x, width, {tiles, 1 + count, width});
}

void Vision::run(Run& run, const Inputs& inputs, Outputs& outputs) const {
  const Input& pixels = inputs.at("pixel_values");
  const int64_t tiles = pixels.shape[0], rows = pixels.shape[2] / patch_, columns = pixels.shape[3] / patch_;
  const int64_t tokens = 1 + rows * columns, width = shape_.width;
  const View x = run.f32(tiles * tokens, width);
  embed(run, pixels.f32, x, tiles, rows, columns);
  for (size_t i = 0; i < layers_.size(); ++i) {
    run.check_cancelled();
    run_encoder_layer(run, shape_, layers_[i], x, tiles, tokens);
    run.tap("layer_" + std::to_string(i), x, width, {tiles, tokens, width});
  }

  const int64_t half = columns / 2, cells = rows / 2 * half;
  const View folded = run.f32(tiles * cells, 4 * width);
  run.each_rows(tiles * cells, 8, [&](int64_t first, int64_t n, int) {
    for (int64_t cell = first; cell < first + n; ++cell) {
      const int64_t y = cell % cells / half, at = cell % half, tile = cell / cells;
      for (int64_t i = 0; i < 4; ++i) {
        const int64_t patch = (2 * y + i / 2) * columns + 2 * at + i % 2;
        std::memcpy(folded.row<float>(cell) + i * width, x.row<float>(tile * tokens + 1 + patch), static_cast<size_t>(width) * 4);
      }
    }
  });
  run.tap("pixel_shuffled", folded, 4 * width, {tiles, cells, 4 * width});
  float* features = outputs.make("features", {tiles, cells, projector_.out});
  const View out{features, Type::f32, projector_.out};
  projector_.run(run, folded, tiles * cells, out);
  run.tap("features", out, projector_.out, {tiles, cells, projector_.out});
}

Streams::Branch Streams::branch(Loader& load, const std::string& blocks, const std::string& down, int64_t count) {
  const std::string at = "model.vae_decoder.";
  Branch made;
  for (int64_t i = 0; i < count; ++i)
    made.blocks.emplace_back(load, at + blocks + "." + std::to_string(i) + ".mlp.", 1e-6f);
  made.down = NormedMlp(load, at + down + ".", 1e-5f);
  return made;
}

Streams::Streams(const Config& config, Loader& load)
    : dual_(config.whole("streams.dual") != 0),
      shape_{config.whole("language.width"), config.whole("streams.pixel_heads"),
             config.whole("streams.pixel_mlp_width"), 1e-5f} {
  const int64_t blocks = config.whole("streams.blocks");
  if (!dual_) {
    semantic_ = branch(load, "down_blocks", "down_mlp", blocks);
    return;
  }
  semantic_ = branch(load, "semantic_down_blocks", "semantic_down_mlp", blocks);
  pixel_ = branch(load, "pixel_down_blocks", "pixel_down_mlp", blocks);
  for (int64_t i = 0; i < config.whole("streams.pixel_depth"); ++i) {
    const std::string at = "model.vae_decoder.pixel_transformer.layers." + std::to_string(i) + ".";
    const Tensor& weight = load.tensor(at + "self_attn.in_proj_weight");
    EncoderLayer layer;
    const float* bias = load.vector(at + "self_attn.in_proj_bias");
    layer.qkv = load.packed(3 * shape_.width, shape_.width,
                            [&](int64_t r, float* to) { weight.read(r * shape_.width, shape_.width, to); }, bias, load.fine());
    layer.proj = load.linear(at + "self_attn.out_proj", load.fine());
    layer.up = load.linear(at + "linear1", load.fine());
    layer.down = load.linear(at + "linear2", load.fine());
    layer.norm1_weight = load.vector(at + "norm1.weight");
    layer.norm1_bias = load.vector(at + "norm1.bias");
    layer.norm2_weight = load.vector(at + "norm2.weight");
    layer.norm2_bias = load.vector(at + "norm2.bias");
    layers_.push_back(layer);
  }
  fusion_ = NormedMlp(load, "model.vae_decoder.fusion_layer.", 1e-5f);
}

void Streams::run(Run& run, const Inputs& inputs, Outputs& outputs) const {
  const Input& features = inputs.at("features");
  const int64_t batch = features.shape[0], tokens = features.shape[1], rows = batch * tokens, width = shape_.width;
  const View given{const_cast<float*>(features.f32), Type::f32, width};
  const View x = run.f32(rows, width);

  const auto through = [&](const Branch& branch, const std::string& name, const View& to) {
    for (size_t i = 0; i < branch.blocks.size(); ++i) {
      branch.blocks[i].run(run, x, rows, x, x);
      run.tap(name + "_" + std::to_string(i), x, width, {batch, tokens, width});
    }
    branch.down.run(run, x, rows, to);
  };
  const int64_t channels = semantic_.down.out;
  float* latent = outputs.make("latent_tokens", {batch, tokens, channels});
  const View out{latent, Type::f32, channels};
  run.convert(given, x, rows, width);
  if (!dual_) {
    through(semantic_, "block", out);
    run.tap("down_mlp", out, channels, {batch, tokens, channels});
    return;
  }
  const View both = run.f32(rows, 2 * channels);
  through(semantic_, "semantic_block", both);
  run.tap("semantic_latent", both, channels, {batch, tokens, channels});
  run.convert(given, x, rows, width);
  for (size_t i = 0; i < layers_.size(); ++i) {
    run.check_cancelled();
    run_encoder_layer(run, shape_, layers_[i], x, batch, tokens);
    run.tap("pixel_layer_" + std::to_string(i), x, width, {batch, tokens, width});
  }
  run.tap("pixel_features", x, width, {batch, tokens, width});
  through(pixel_, "pixel_block", both.columns(channels));
  run.tap("pixel_latent", both.columns(channels), channels, {batch, tokens, channels});
  fusion_.run(run, both, rows, out);
  run.tap("fused", out, channels, {batch, tokens, channels});
}

}  // namespace spar::cpu
