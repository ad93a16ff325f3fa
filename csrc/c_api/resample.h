// Resizing of pictures: Pillow's bicubic on bytes, bilinear on floats. To the bit what engine/image/resample.py does.
#pragma once

#include <cstdint>
#include <vector>

namespace spar::c_api {

// [height, width, 3] bytes, rows without gaps.
struct Bytes {
  int64_t height = 0, width = 0;
  std::vector<uint8_t> data;
};

// Antialiased bicubic, the width first.
Bytes bicubic(const Bytes& picture, int64_t height, int64_t width);

// `planes` pictures [rows, columns] float32 to [height, width], without antialiasing. `like_torch` places the samples
// in float32 as torch does, else in float64 as OpenCV does.
std::vector<float> bilinear(const float* picture, int64_t planes, int64_t rows, int64_t columns, int64_t height,
                            int64_t width, bool like_torch);

}  // namespace spar::c_api
