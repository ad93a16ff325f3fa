// Components `language`, `lm_head` and `condition`.
#pragma once

#include "model/encoder.h"
#include "model/qwen2.h"

namespace spar::cpu {

// Embeddings after a cache -> hidden levels of the wanted rows, and the grown cache.
class Language : public Component {
 public:
  Language(const Config& config, Loader& load);
  void run(Run& run, const Inputs& inputs, Outputs& outputs) const override;

 private:
  Qwen2 model_;
  std::vector<int64_t> levels_;
};

class LmHead : public Component {
 public:
  LmHead(const Config&, Loader& load) : head_(load.linear("lm_head", load.text())) {}
  void run(Run& run, const Inputs& inputs, Outputs& outputs) const override;

 private:
  PackedLinear head_;
};

// Hidden levels -> routing (or the last level) -> rows in order, image rows from the visual tokens -> connector ->
// caption.
class Condition : public Component {
 public:
  Condition(const Config& config, Loader& load);
  void run(Run& run, const Inputs& inputs, Outputs& outputs) const override;

 private:
  void route(Run& run, const float* levels, int64_t batch, int64_t rows, const View& out) const;

  int64_t picks_;  // 0: no router
  float temperature_ = 1.0f;
  PackedLinear router_first_, router_second_, router_out_, projector_;
  const float *scales_ = nullptr, *norm_weight_ = nullptr, *norm_bias_ = nullptr;
  Qwen2 connector_;
};

}  // namespace spar::cpu
