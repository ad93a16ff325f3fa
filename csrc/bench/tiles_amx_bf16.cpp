// Two by two tiles: four independent products of 16 x 32 by 32 x 16 bf16 a round, the shape that GEMM kernels use.
#include <immintrin.h>

#include <algorithm>

#include "probes.h"
#include "tiles.h"

namespace spar::bench {

bool tiles_amx_bf16(int64_t iterations) {
  constexpr int64_t kExact = 1 << 18;  // 32 added a round: exact in float up to 2^24
  const TileConfig config;
  alignas(64) uint16_t ones[512];
  std::fill_n(ones, 512, uint16_t{0x3f80});
  _tile_loadconfig(&config);
  _tile_loadd(0, ones, 64);
  _tile_loadd(1, ones, 64);
  _tile_loadd(2, ones, 64);
  _tile_loadd(3, ones, 64);
  bool right = true;
  for (int64_t done = 0; done < iterations; done += kExact) {
    const int64_t rounds = std::min(kExact, iterations - done);
    _tile_zero(4);
    _tile_zero(5);
    _tile_zero(6);
    _tile_zero(7);
    for (int64_t i = 0; i < rounds; ++i) {
      _tile_dpbf16ps(4, 0, 2);
      _tile_dpbf16ps(5, 0, 3);
      _tile_dpbf16ps(6, 1, 2);
      _tile_dpbf16ps(7, 1, 3);
    }
    alignas(64) float sums[4][256];
    _tile_stored(4, sums[0], 64);
    _tile_stored(5, sums[1], 64);
    _tile_stored(6, sums[2], 64);
    _tile_stored(7, sums[3], 64);
    for (const auto& tile : sums)
      for (const float sum : tile) right &= sum == 32.0f * static_cast<float>(rounds);
  }
  _tile_release();
  return right;
}

}  // namespace spar::bench
