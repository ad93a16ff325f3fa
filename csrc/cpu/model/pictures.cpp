#include "model/pictures.h"

#include <algorithm>

namespace spar::cpu {

void to_rows(Run& run, const float* picture, const View& rows, int64_t pictures, int64_t channels, int64_t pixels) {
  run.each_rows(pictures * pixels, 64, [&](int64_t first, int64_t count, int) {
    for (int64_t r = first; r < first + count; ++r) {
      const float* from = picture + r / pixels * channels * pixels + r % pixels;
      for (int64_t c = 0; c < channels; ++c) {
        if (rows.type == Type::f32)
          rows.row<float>(r)[c] = from[c * pixels];
        else
          rows.row<bf16>(r)[c] = to_bf16(from[c * pixels]);
      }
    }
  });
}

void from_rows(Run& run, const View& rows, float* picture, int64_t pictures, int64_t channels, int64_t pixels) {
  run.each(pictures * channels, [&](int64_t index, int) {
    const int64_t first = index / channels * pixels, c = index % channels;
    float* to = picture + index * pixels;
    for (int64_t i = 0; i < pixels; ++i) to[i] = rows.row<float>(first + i)[c];
  });
}

View zeros(Run& run, int64_t channels) {
  const View row = run.act(1, channels);
  std::fill_n(row.row<char>(0), row.stride * size_of(row.type), 0);
  return row;
}

Taps taps_of(int64_t height, int64_t width, int64_t channels, int kernel, int top, int left, const void* zeros) {
  Taps taps{};
  taps.height = height;
  taps.width = width;
  taps.channels = channels;
  taps.count = kernel * kernel;
  for (int i = 0; i < taps.count; ++i) {
    taps.dy[i] = static_cast<int8_t>(top + i / kernel);
    taps.dx[i] = static_cast<int8_t>(left + i % kernel);
  }
  taps.zeros = zeros;
  return taps;
}

}  // namespace spar::cpu
