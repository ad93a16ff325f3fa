#include "core/pack.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <memory>

namespace spar::cpu {

int64_t packed_bytes(Type type, int64_t n, int64_t k) {
  return ceil_div(n, kPanel) * panel_bytes(type, packed_k(type, k));
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

// The scale of a group, by which its values are from -8.5 to 7.5.
bf16 group_scale(const float* values, int64_t count) {
  float above = 0.0f, below = 0.0f;
  for (int64_t i = 0; i < count; ++i) {
    if (!std::isfinite(values[i])) return to_bf16(std::numeric_limits<float>::quiet_NaN());
    above = std::max(above, values[i]);
    below = std::max(below, -values[i]);
  }
  if (above == 0.0f && below == 0.0f) return {0};
  const float larger = std::max(above, below), smaller = std::min(above, below);
  const float size = std::max({larger / 8.5f, smaller / 7.5f, std::numeric_limits<float>::denorm_min()});
  const uint32_t bits = __builtin_bit_cast(uint32_t, size) + 0xffffu;  // up, so that nothing is clipped
  return {static_cast<uint16_t>((bits >> 16) | (above > below ? 0x8000u : 0u))};
}

// Groups of 32 columns: rows [kPanel, padded], `padded` a multiple of 8.
void pack_groups(const float* rows, int64_t padded, char* panel) {
  for (int64_t first = 0; first < padded; first += kGroup) {
    const int64_t count = std::min(kGroup, padded - first);
    bf16* scales = reinterpret_cast<bf16*>(panel);
    uint8_t* to = reinterpret_cast<uint8_t*>(panel + kScaleBytes);
    for (int64_t c = 0; c < kPanel; ++c) {
      const float* values = rows + c * padded + first;
      scales[c] = group_scale(values, count);
      const float unit = to_f32(scales[c]);
      for (int64_t i = 0; i < count; ++i) {
        const float whole = unit != 0.0f && unit == unit ? std::nearbyint(values[i] / unit) : 0.0f;
        const int nibble = static_cast<int>(std::clamp(whole, -8.0f, 7.0f)) + 8;
        uint8_t& byte = to[i / 8 * kRowBytes + c * 4 + i % 4];
        byte = static_cast<uint8_t>(i % 8 < 4 ? nibble : byte | nibble << 4);
      }
    }
    panel += kScaleBytes + count / 8 * kRowBytes;
  }
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
  const int64_t padded = packed_k(type, k), lane = per_lane(type), bytes = panel_bytes(type, padded);
  seat.each(ceil_div(n, kPanel), [&](int64_t p, int) {
    const auto rows = std::make_unique<float[]>(static_cast<size_t>(kPanel * padded));
    const int64_t real = std::min(kPanel, n - p * kPanel);
    for (int64_t c = 0; c < real; ++c) row(p * kPanel + c, rows.get() + c * padded);
    char* panel = panels + p * bytes;
    if (type == Type::s4) return pack_groups(rows.get(), padded, panel);
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
