#include "core/pack.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <memory>

namespace spar::cpu {

int64_t packed_bytes(Type type, int64_t n, int64_t k) {
  return ceil_div(n, kPanel) * packed_k(type, k) / per_lane(type) * kRowBytes;
}

namespace {

// Symmetric int8, one scale a column: the largest magnitude becomes 127.
float quantize_row(const float* row, int64_t k, int8_t* to, int32_t* sum) {
  float largest = 0.0f;
  for (int64_t i = 0; i < k; ++i) largest = std::max(largest, std::fabs(row[i]));
  const float scale = largest > 0.0f ? largest / 127.0f : 1.0f;
  *sum = 0;
  for (int64_t i = 0; i < k; ++i) {
    to[i] = static_cast<int8_t>(std::clamp(std::nearbyint(row[i] / scale), -127.0f, 127.0f));
    *sum += to[i];
  }
  return scale;
}

template <class T, class Convert>
void interleave(const float* rows, int64_t padded, int64_t lane, char* panel, const Convert& convert) {
  T* to = reinterpret_cast<T*>(panel);
  for (int64_t s = 0; s < padded / lane; ++s)
    for (int64_t c = 0; c < kPanel; ++c)
      for (int64_t i = 0; i < lane; ++i) *to++ = convert(rows[c * padded + s * lane + i]);
}

}  // namespace

void pack_panels(Pool::Seat& seat, Type type, int64_t n, int64_t k, const WeightRow& row, char* panels, float* scale,
                 int32_t* sums) {
  const int64_t padded = packed_k(type, k), lane = per_lane(type), panel_bytes = padded / lane * kRowBytes;
  seat.each(ceil_div(n, kPanel), [&](int64_t p, int) {
    const auto rows = std::make_unique<float[]>(static_cast<size_t>(kPanel * padded));
    const int64_t real = std::min(kPanel, n - p * kPanel);
    for (int64_t c = 0; c < real; ++c) row(p * kPanel + c, rows.get() + c * padded);
    char* panel = panels + p * panel_bytes;
    if (type == Type::f32) return interleave<float>(rows.get(), padded, lane, panel, [](float x) { return x; });
    if (type == Type::bf16) return interleave<bf16>(rows.get(), padded, lane, panel, [](float x) { return to_bf16(x); });
    const auto whole = std::make_unique<int8_t[]>(static_cast<size_t>(padded));
    for (int64_t c = 0; c < real; ++c) {
      float* values = rows.get() + c * padded;
      scale[p * kPanel + c] = quantize_row(values, padded, whole.get(), sums + p * kPanel + c);
      for (int64_t i = 0; i < padded; ++i) values[i] = whole[static_cast<size_t>(i)];
    }
    interleave<int8_t>(rows.get(), padded, lane, panel, [](float x) { return static_cast<int8_t>(x); });
  });
}

}  // namespace spar::cpu
