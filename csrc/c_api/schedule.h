// Noise levels, timesteps and the constants of a sampling run (spec 6), and one step of it.
#pragma once

#include <vector>

#include "c_api/model_config.h"

namespace spar::c_api {

// Next latent = a * latent + b * data + c * previous data, where data = latent - sigma * velocity.
struct Schedule {
  std::vector<float> sigmas;     // [steps + 1], strictly falling, the last one 0
  std::vector<float> timesteps;  // [steps] what the DiT is told
  std::vector<float> a, b, c;    // [steps]
};

// steps  1 .. the sampler's train_steps, at most 1000, else InputError
Schedule schedule(const SamplerShape& sampler, int64_t steps);

// Step `index`, in place: latent and the data prediction `previous` of the step before (empty before the first).
void advance(const Schedule& plan, size_t index, std::vector<float>& latent, const float* velocity,
             std::vector<float>& previous);

}  // namespace spar::c_api
