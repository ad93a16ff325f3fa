// Qwen2 layers: language model and connector (spec 5).
#pragma once

#include "model/component.h"
#include "model/keyvalues.h"

namespace spar::cpu {

class Qwen2 {
 public:
  Qwen2() = default;
  Qwen2(const Config& config, Loader& load, const std::string& prefix, int64_t depth, Type weights);

  int64_t width() const { return width_; }
  int64_t depth() const { return static_cast<int64_t>(layers_.size()); }
  int64_t kv_heads() const { return kv_heads_; }
  int64_t head_dim() const { return width_ / heads_; }

  // Cosines and sines of the tokens past .. past + tokens, [tokens, head_dim / 2] each.
  struct Rotation {
    std::vector<float> cos, sin;
  };
  Rotation rotation(int64_t past, int64_t tokens) const;

  // x [batch * tokens, width] f32 through layer `index`. Keys and values join those of `store` (layer, batch item) after
  // the first `past` tokens; causal, or every token sees all. With `rows`, only those tokens are finished, and x
  // becomes [batch * rows, width].
  void layer(Run& run, int64_t index, View& x, int64_t batch, int64_t tokens, const Rotation& rotation,
             const KeyValueStore& store, int64_t group, int64_t past, bool causal, const std::vector<int64_t>* rows) const;
  // The final norm, in f32.
  void norm(Run& run, const View& x, int64_t rows, const View& out) const;

 private:
  struct Layer {
    PackedLinear qkv, out, gate_up, down;
    const float *input_norm, *mlp_norm;
  };
  int64_t width_ = 0, heads_ = 0, kv_heads_ = 0;
  float eps_ = 0.0f;
  double theta_ = 0.0;
  std::vector<Layer> layers_;
  const float* norm_ = nullptr;
};

}  // namespace spar::cpu
