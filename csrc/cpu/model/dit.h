// SANA linear diffusion transformer: one step for several guidance branches (spec 4).
#pragma once

#include "model/component.h"
#include "model/keyvalues.h"

namespace spar::cpu {

class Dit : public Component {
 public:
  Dit(const Config& config, Loader& load);
  void run(Run& run, const Inputs& inputs, Outputs& outputs) const override;

 private:
  struct Block {
    PackedLinear qkv, self_out, query, cross_out, up, down;
    const float *depth_weight, *depth_bias;
  };
  struct Step;  // sizes and buffers of one call

  void embed(Step& step, const float* latent) const;
  void self_attention(Step& step, const Block& block, int64_t index) const;
  void spread(Step& step) const;
  void cross_attention(Step& step, const Block& block, int64_t index) const;
  void feed_forward(Step& step, const Block& block, int64_t index) const;
  void head(Step& step, float* velocity) const;

  int64_t depth_, width_, heads_, head_dim_, cross_heads_, hidden_, channels_, sample_size_;
  bool positions_;
  float eps_;
  PackedLinear patch_, out_;
  std::vector<Block> blocks_;
};

}  // namespace spar::cpu
