// Shape of a whole model. Fields have the names of engine/config/model.py.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "model/component.h"

namespace spar::c_api {

// Numbers of one part, by field. Whole ones are below 2^53.
struct Values : std::map<std::string, double> {
  using std::map<std::string, double>::map;
  int64_t whole(const std::string& field) const { return static_cast<int64_t>(at(field)); }
};

// Lists run from stage 0 (largest picture) to the last stage (latent size).
struct DecoderShape {
  std::vector<int64_t> channels, depths, attention;
  std::vector<std::vector<int64_t>> scales;
  int64_t head_dim = 32, latent_channels = 32;

  int64_t upscale() const { return int64_t{1} << (channels.size() - 1); }
};

struct SamplerShape {
  bool euler = false;  // else DPM-Solver++
  double shift = 3.0;
  int64_t train_steps = 1000;
};

struct ModelConfig {
  std::string name;
  Values vision, language, streams, dit;
  std::optional<Values> router;
  DecoderShape decoder;
  SamplerShape sampler;
  int64_t connector_depth = 0, query_count = 0, image_token_id = 151667;
  double latent_scale = 1.0;
  double guidance_scale = 4.5;  // of requests that name none
  bool positions = true;        // the DiT's position table: "sincos", or "none"

  int64_t dit_width() const { return dit.whole("heads") * dit.whole("head_dim"); }
  int64_t dit_mlp_width() const { return static_cast<int64_t>(dit.at("mlp_ratio") * static_cast<double>(dit_width())); }
  int64_t head_dim() const { return language.whole("width") / language.whole("heads"); }
  int64_t grid() const { return vision.whole("image_size") / vision.whole("patch_size"); }
  int64_t image_tokens() const { return (grid() / 2) * (grid() / 2); }
  std::vector<int64_t> levels() const;  // indices of the hidden states that the condition needs

  // ConfigError for a field out of range or two that do not fit.
  void check() const;
  // As the components read it.
  cpu::Config components() const;
};

}  // namespace spar::c_api
