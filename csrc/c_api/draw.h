// Text to image, editing and reconstruction.
#pragma once

#include <functional>
#include <optional>
#include <vector>

#include "c_api/engine.h"
#include "c_api/pictures.h"

namespace spar::c_api {

struct Drawing {
  Prompt positive;
  std::optional<Prompt> negative;          // none: guidance is off
  std::vector<float> pixels;               // normalised source picture of an edit, [3, side, side]; empty without one
  std::vector<std::vector<float>> noises;  // a starting latent [channels, height, width] for every picture
  int64_t height = 0, width = 0;           // of the latent
  int64_t steps = 20;
  float guidance_scale = 4.5f;
  bool full = false;                                                        // keep the decoder's size
  std::function<void(int64_t image, int64_t step, int64_t total)> on_step;  // may be empty; throws Cancelled to stop
  Flag cancel = nullptr;
};

// One picture for every noise.
std::vector<Bytes> draw(Engine& engine, const Drawing& drawing);

// The middle square of a picture, `side` pixels, through the image tokenizer and back.
Bytes reconstruct(Engine& engine, const Bytes& picture, int64_t side, Flag cancel);

}  // namespace spar::c_api
