// Components `language`, `lm_head` and `condition`.
#pragma once

#include <optional>

#include "model/encoder.h"
#include "model/qwen2.h"
#include "model/routing.h"

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
  std::optional<Routing> routing_;
  PackedLinear projector_;
  Qwen2 connector_;
};

}  // namespace spar::cpu
