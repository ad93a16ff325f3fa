// Two by two tiles: four independent products of 16 x 64 by 64 x 16 bytes a round.
#include <immintrin.h>

#include <algorithm>

#include "probes.h"
#include "tiles.h"

namespace spar::bench {

bool tiles_amx_int8(int64_t iterations) {
  const TileConfig config;
  alignas(64) int8_t ones[1024];
  std::fill_n(ones, 1024, int8_t{1});
  _tile_loadconfig(&config);
  _tile_loadd(0, ones, 64);
  _tile_loadd(1, ones, 64);
  _tile_loadd(2, ones, 64);
  _tile_loadd(3, ones, 64);
  _tile_zero(4);
  _tile_zero(5);
  _tile_zero(6);
  _tile_zero(7);
  for (int64_t i = 0; i < iterations; ++i) {
    _tile_dpbssd(4, 0, 2);
    _tile_dpbssd(5, 0, 3);
    _tile_dpbssd(6, 1, 2);
    _tile_dpbssd(7, 1, 3);
  }
  alignas(64) uint32_t sums[4][256];
  _tile_stored(4, sums[0], 64);
  _tile_stored(5, sums[1], 64);
  _tile_stored(6, sums[2], 64);
  _tile_stored(7, sums[3], 64);
  _tile_release();
  bool right = true;
  for (const auto& tile : sums)
    for (const uint32_t sum : tile) right &= sum == static_cast<uint32_t>(64 * iterations);  // wraps as the sums do
  return right;
}

}  // namespace spar::bench
