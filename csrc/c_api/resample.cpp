#include "c_api/resample.h"

#include <algorithm>
#include <cmath>

namespace spar::c_api {
namespace {

constexpr int kPrecision = 32 - 8 - 2;  // bits of a weight after the point, as in Pillow

double cubic(double x) {
  constexpr double a = -0.5;
  x = std::fabs(x);
  if (x < 1.0) return ((a + 2.0) * x - (a + 3.0)) * x * x + 1;
  if (x < 2.0) return (((x - 5) * x + 8) * x - 4) * a;
  return 0.0;
}

// What one sample of the result reads: samples from `first` on, with these weights.
struct Reads {
  int64_t first;
  std::vector<int32_t> weights;
};

std::vector<Reads> reads(int64_t size, int64_t wanted) {
  const double scale = static_cast<double>(size) / static_cast<double>(wanted), stretch = std::max(scale, 1.0);
  const double support = 2.0 * stretch, inverse = 1.0 / stretch;
  std::vector<Reads> made;
  for (int64_t i = 0; i < wanted; ++i) {
    const double centre = (static_cast<double>(i) + 0.5) * scale;
    const int64_t first = std::max<int64_t>(static_cast<int64_t>(centre - support + 0.5), 0);
    const int64_t last = std::min<int64_t>(static_cast<int64_t>(centre + support + 0.5), size);
    std::vector<double> real;
    double total = 0.0;
    for (int64_t x = 0; x < last - first; ++x) {
      real.push_back(cubic((static_cast<double>(x + first) - centre + 0.5) * inverse));
      total += real.back();
    }
    Reads one{first, {}};
    for (double weight : real) {
      if (total != 0.0) weight /= total;
      weight *= static_cast<double>(1 << kPrecision);
      one.weights.push_back(static_cast<int32_t>(weight < 0 ? weight - 0.5 : weight + 0.5));
    }
    made.push_back(std::move(one));
  }
  return made;
}

uint8_t rounded(int64_t sum) { return static_cast<uint8_t>(std::clamp<int64_t>(sum >> kPrecision, 0, 255)); }

// Along one axis: `lines` lines of `size` samples of `run` bytes each.
void along(const uint8_t* from, uint8_t* to, int64_t lines, int64_t size, int64_t wanted, int64_t run) {
  const auto table = reads(size, wanted);
  for (int64_t line = 0; line < lines; ++line, from += size * run)
    for (const Reads& one : table) {
      for (int64_t byte = 0; byte < run; ++byte) {
        int64_t sum = 1 << (kPrecision - 1);
        const uint8_t* at = from + one.first * run + byte;
        for (const int32_t weight : one.weights) {
          sum += static_cast<int64_t>(*at) * weight;
          at += run;
        }
        *to++ = rounded(sum);
      }
    }
}

struct Samples {
  std::vector<int64_t> low, high;
  std::vector<float> weight;
};

template <class Real>
Samples samples(int64_t size, int64_t wanted) {
  Samples made;
  for (int64_t i = 0; i < wanted; ++i) {
    Real place =
        (static_cast<Real>(i) + static_cast<Real>(0.5)) * (static_cast<Real>(size) / static_cast<Real>(wanted)) -
        static_cast<Real>(0.5);
    place = std::clamp<Real>(place, 0, static_cast<Real>(size - 1));
    const int64_t low = static_cast<int64_t>(place);
    made.low.push_back(low);
    made.high.push_back(std::min(low + 1, size - 1));
    made.weight.push_back(static_cast<float>(static_cast<double>(place) - static_cast<double>(low)));
  }
  return made;
}

}  // namespace

Bytes bicubic(const Bytes& picture, int64_t height, int64_t width) {
  Bytes across{picture.height, width, std::vector<uint8_t>(static_cast<size_t>(picture.height * width * 3))};
  along(picture.data.data(), across.data.data(), picture.height, picture.width, width, 3);
  Bytes made{height, width, std::vector<uint8_t>(static_cast<size_t>(height * width * 3))};
  along(across.data.data(), made.data.data(), 1, picture.height, height, width * 3);
  return made;
}

std::vector<float> bilinear(const float* picture, int64_t planes, int64_t rows, int64_t columns, int64_t height,
                            int64_t width, bool like_torch) {
  const Samples down = like_torch ? samples<float>(rows, height) : samples<double>(rows, height);
  const Samples over = like_torch ? samples<float>(columns, width) : samples<double>(columns, width);
  std::vector<float> made;
  made.reserve(static_cast<size_t>(planes * height * width));
  std::vector<float> line(static_cast<size_t>(columns));
  for (int64_t plane = 0; plane < planes; ++plane)
    for (size_t y = 0; y < down.low.size(); ++y) {
      const float *lower = picture + (plane * rows + down.low[y]) * columns,
                  *upper = picture + (plane * rows + down.high[y]) * columns;
      for (size_t x = 0; x < line.size(); ++x) line[x] = lower[x] + (upper[x] - lower[x]) * down.weight[y];
      for (size_t x = 0; x < over.low.size(); ++x) {
        const float left = line[static_cast<size_t>(over.low[x])], right = line[static_cast<size_t>(over.high[x])];
        made.push_back(left + (right - left) * over.weight[x]);
      }
    }
  return made;
}

}  // namespace spar::c_api
