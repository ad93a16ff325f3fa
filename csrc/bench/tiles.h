// Tile configuration shared by the AMX probes: 8 tiles of 16 rows of 64 bytes.
#pragma once

#include <cstdint>

namespace spar::bench {

struct alignas(64) TileConfig {
  uint8_t palette = 1, start_row = 0, reserved[14] = {};
  uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
  uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
};

}  // namespace spar::bench
