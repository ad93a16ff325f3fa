// Starting noise and the numbers that choose tokens, to the bit as docs/noise.md has them.
#pragma once

#include <cstdint>
#include <vector>

namespace spar::c_api {

// [size] N(0, 1) of picture `index` of a seed, in the order of its latent.
std::vector<float> noise(uint64_t seed, uint32_t index, int64_t size);

// Number `n` of the stream that chooses tokens, in (0, 1].
double uniform(uint64_t seed, uint32_t n);

}  // namespace spar::c_api
