#include "c_api/pictures.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <stdexcept>
#include <string>

#include "c_api/error.h"

namespace spar::c_api {
namespace {

constexpr int64_t kMostPixels = 178'000'000, kMostSide = 16'384, kMostAspect = 100, kLeastSide = 2;

// Normalised value of every byte of a channel, in the original's order of roundings. Editing goes through an image
// processor that folds the 1/255 into mean and deviation; the others divide first.
float normalised(uint8_t byte, int channel, bool folded) {
  static constexpr float mean[] = {0.485f, 0.456f, 0.406f}, deviation[] = {0.229f, 0.224f, 0.225f};
  if (!folded) return (static_cast<float>(byte) / 255.0f - mean[channel]) / deviation[channel];
  const float scale = static_cast<float>(1 / 0.00392156862745098);
  return (static_cast<float>(byte) - mean[channel] * scale) / (deviation[channel] * scale);
}

// The part of `size` x `size` from (top, left) on, as [3, size, size].
std::vector<float> normalise(const Bytes& picture, int64_t top, int64_t left, int64_t size, bool folded) {
  std::vector<float> made;
  made.reserve(static_cast<size_t>(3 * size * size));
  for (int channel = 0; channel < 3; ++channel) {
    float table[256];
    for (int byte = 0; byte < 256; ++byte) table[byte] = normalised(static_cast<uint8_t>(byte), channel, folded);
    for (int64_t y = top; y < top + size; ++y)
      for (int64_t x = left; x < left + size; ++x)
        made.push_back(table[picture.data[static_cast<size_t>((y * picture.width + x) * 3 + channel)]]);
  }
  return made;
}

// InternVL's grid for a picture: tiles across and down.
std::pair<int64_t, int64_t> tile_grid(const Bytes& picture, int64_t size, int64_t most) {
  std::pair<int64_t, int64_t> best{1, 1};
  double distance = std::numeric_limits<double>::infinity();
  const double aspect = static_cast<double>(picture.width) / static_cast<double>(picture.height);
  for (int64_t count = 1; count <= most; ++count)
    for (int64_t i = 1; i <= count; ++i) {
      if (count % i) continue;
      const int64_t j = count / i;
      const double off = std::fabs(aspect - static_cast<double>(i) / static_cast<double>(j));
      const bool large =
          static_cast<double>(picture.height * picture.width) > 0.5 * static_cast<double>(size * size * count);
      if (off < distance || (off == distance && large)) {
        best = {i, j};
        distance = off;
      }
    }
  return best;
}

// To the nearest whole number, halves to the even one.
int64_t half_even(int64_t doubled) { return static_cast<int64_t>(std::nearbyint(static_cast<double>(doubled) / 2)); }

Bytes to_bytes(const std::vector<float>& planes, int64_t height, int64_t width) {
  Bytes made{height, width, std::vector<uint8_t>(planes.size())};
  const size_t pixels = static_cast<size_t>(height * width);
  for (size_t i = 0; i < pixels; ++i)
    for (size_t channel = 0; channel < 3; ++channel)
      made.data[3 * i + channel] = static_cast<uint8_t>(planes[channel * pixels + i]);
  return made;
}

void check_finite(const std::vector<float>& decoded) {
  if (!std::all_of(decoded.begin(), decoded.end(), [](float value) { return std::isfinite(value); }))
    throw std::runtime_error(
        "the decoder gave values that are not finite; the weights are damaged, or this precision is too low for them");
}

int64_t shrunk(int64_t side) { return static_cast<int64_t>(static_cast<double>(side) * 0.875); }

}  // namespace

Bytes checked_picture(const uint8_t* pixels, int64_t width, int64_t height, int64_t stride) {
  const std::string size = "picture: " + std::to_string(width) + "x" + std::to_string(height) + " pixels";
  if (!pixels) throw InputError("picture: pixels is null; pass the address of RGB bytes");
  if (std::min(width, height) < kLeastSide) throw InputError(size + " are too few; use at least 2x2");
  if (std::max(width, height) > kMostSide)
    throw InputError(size + ": a side is over the limit of " + std::to_string(kMostSide) + "; scale it down");
  if (width * height > kMostPixels)
    throw InputError(size + " are over the limit of " + std::to_string(kMostPixels) + " in all; scale it down");
  if (std::max(width, height) > kMostAspect * std::min(width, height))
    throw InputError(size + ": one side is more than 100 times the other; crop it");
  if (stride == 0) stride = 3 * width;
  if (stride < 3 * width)
    throw InputError("picture: stride=" + std::to_string(stride) + " is less than a row of " +
                     std::to_string(3 * width) + " bytes");
  Bytes made{height, width, std::vector<uint8_t>(static_cast<size_t>(3 * width * height))};
  for (int64_t y = 0; y < height; ++y)
    std::memcpy(&made.data[static_cast<size_t>(3 * width * y)], pixels + stride * y, static_cast<size_t>(3 * width));
  return made;
}

std::vector<float> edit_pixels(const Bytes& picture, int64_t size) {
  return normalise(bicubic(picture, size, size), 0, 0, size, true);
}

std::vector<float> reconstruct_pixels(const Bytes& picture, int64_t size) {
  const int64_t shorter = std::min(picture.height, picture.width);
  const int64_t height = size * picture.height / shorter, width = size * picture.width / shorter;
  return normalise(bicubic(picture, height, width), half_even(height - size), half_even(width - size), size, false);
}

std::vector<std::vector<float>> chat_pixels(const Bytes& picture, int64_t size, int64_t max_tiles) {
  const auto [across, down] = tile_grid(picture, size, max_tiles);
  const Bytes whole = bicubic(picture, size * down, size * across);
  std::vector<std::vector<float>> tiles;
  for (int64_t row = 0; row < down; ++row)
    for (int64_t column = 0; column < across; ++column)
      tiles.push_back(normalise(whole, size * row, size * column, size, false));
  if (tiles.size() > 1) tiles.push_back(normalise(bicubic(picture, size, size), 0, 0, size, false));
  return tiles;
}

Bytes generated_picture(const std::vector<float>& decoded, int64_t rows, int64_t columns, bool full) {
  check_finite(decoded);
  std::vector<float> planes = decoded;
  for (float& value : planes) value = std::clamp(value, -1.0f, 1.0f) * 0.5f + 0.5f;
  const int64_t height = full ? rows : shrunk(rows), width = full ? columns : shrunk(columns);
  if (!full) planes = bilinear(planes.data(), 3, rows, columns, height, width, false);
  for (float& value : planes) value = std::nearbyint(value * 255.0f);
  return to_bytes(planes, height, width);
}

Bytes reconstructed_picture(const std::vector<float>& decoded, int64_t rows, int64_t columns) {
  check_finite(decoded);
  const int64_t height = shrunk(rows), width = shrunk(columns);
  std::vector<float> planes = bilinear(decoded.data(), 3, rows, columns, height, width, true);
  for (float& value : planes) value = std::clamp((value + 1.0f) * 0.5f, 0.0f, 1.0f) * 255.0f;
  return to_bytes(planes, height, width);
}

}  // namespace spar::c_api
