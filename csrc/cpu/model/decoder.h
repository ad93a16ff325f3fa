// DC-AE pixel decoder (spec 3.4): channels-last pictures as rows of pixels.
#pragma once

#include "model/component.h"

namespace spar::cpu {

// A picture between two blocks: the residual stream, and the same as the next convolution reads it.
struct Pixels {
  int64_t pictures, height, width, channels;
  View x;    // f32 [count, channels]
  View act;  // activations; `x` itself in f32

  int64_t count() const { return pictures * height * width; }
};

// Multi-scale ReLU linear attention, then a gated convolutional feed-forward (E18).
class EfficientViTBlock {
 public:
  EfficientViTBlock(Loader& load, const std::string& prefix, int64_t channels, int64_t head_dim,
                    const std::vector<int64_t>& scales);
  void run(Run& run, const Pixels& p, const std::string& name) const;

 private:
  struct Scale {
    int kernel;
    const float* depth;
    std::vector<PackedLinear> groups;
  };
  void attention(Run& run, const Pixels& p) const;
  void feed_forward(Run& run, const Pixels& p) const;

  int64_t channels_, head_dim_, hidden_;
  PackedLinear qkv_, out_, up_, down_;
  std::vector<Scale> scales_;
  const float *attention_norm_, *attention_bias_, *norm_, *bias_, *depth_weight_, *depth_bias_;
};

// x + norm(conv(silu(conv(x))))
class ResBlock {
 public:
  ResBlock(Loader& load, const std::string& prefix);
  void run(Run& run, const Pixels& p) const;

 private:
  PackedLinear first_, second_;
  const float *norm_, *bias_;
};

// Nearest and 3x3 convolution as four 2x2 convolutions of the small picture, plus channels spread over 2x2 (E17).
class Upsample {
 public:
  Upsample(Loader& load, const std::string& prefix);
  void run(Run& run, const Pixels& from, const Pixels& to) const;

 private:
  PackedLinear phases_[4];
};

class Decoder : public Component {
 public:
  Decoder(const Config& config, Loader& load);
  void run(Run& run, const Inputs& inputs, Outputs& outputs) const override;

 private:
  struct Stage {
    std::vector<Upsample> up;  // one, or none in the last stage
    std::vector<EfficientViTBlock> attention;
    std::vector<ResBlock> residual;
  };
  void enter(Run& run, const float* latent, const Pixels& p) const;
  void leave(Run& run, const Pixels& p, float* image) const;

  int64_t latent_channels_;
  std::vector<int64_t> channels_;
  PackedLinear conv_in_, conv_out_;
  std::vector<Stage> stages_;
  const float *norm_, *bias_;
};

}  // namespace spar::cpu
