// Transformer encoder layers with LayerNorm and GELU: the vision tower and the pixel transformer.
#pragma once

#include "model/component.h"

namespace spar::cpu {

struct EncoderLayer {
  PackedLinear qkv, proj, up, down;
  const float *norm1_weight, *norm1_bias, *norm2_weight, *norm2_bias;
  const float *scale1 = nullptr, *scale2 = nullptr;  // layer scale; null: none
};

struct EncoderShape {
  int64_t width, heads, hidden;
  float eps;
};

// x [batch * tokens, width] f32 += attention, += feed-forward.
void run_encoder_layer(Run& run, const EncoderShape& shape, const EncoderLayer& layer, const View& x, int64_t batch,
                       int64_t tokens);

// LayerNorm, linear, GELU, linear: slots 0, 1, 3 of a torch Sequential.
struct NormedMlp {
  int64_t width = 0, hidden = 0, out = 0;
  float eps = 0.0f;
  const float *weight = nullptr, *bias = nullptr;
  PackedLinear first, second;

  NormedMlp() = default;
  NormedMlp(Loader& load, const std::string& prefix, float eps);
  // x [rows, width] f32 -> out [rows, out] f32; with residual out = residual + mlp(x).
  void run(Run& run, const View& x, int64_t rows, const View& out, const View& residual = {}) const;
};

}  // namespace spar::cpu
