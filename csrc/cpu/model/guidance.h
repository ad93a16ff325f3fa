// What a DiT step needs but does not depend on the latent: the text's keys and values, the schedule's AdaLN vectors.
#pragma once

#include "model/component.h"
#include "model/keyvalues.h"

namespace spar::cpu {

// Caption -> cross-attention keys and values of every block, without their biases (E1, E2, E14).
class Context : public Component {
 public:
  Context(const Config& config, Loader& load);
  void run(Run& run, const Inputs& inputs, Outputs& outputs) const override;

 private:
  int64_t depth_, width_, heads_, caption_width_;
  PackedLinear first_, second_;
  const float* norm_;
  std::vector<PackedLinear> keys_values_;  // both stacked, for every block
};

// Timesteps -> AdaLN vectors of every block and of the head (E3).
class Modulation : public Component {
 public:
  Modulation(const Config& config, Loader& load);
  void run(Run& run, const Inputs& inputs, Outputs& outputs) const override;

 private:
  int64_t depth_, width_;
  PackedLinear first_, second_, shared_;
  const float *tables_, *final_table_;  // [depth, 6, width], [2, width]
};

}  // namespace spar::cpu
