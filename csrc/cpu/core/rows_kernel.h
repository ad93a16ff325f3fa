#pragma once

#include <type_traits>

#include "core/gemm.h"
#include "core/math.h"
#include "core/rows.h"

namespace spar::cpu::ENGINE_ISA {

// u8 = round(x * 127 / largest) + 128; the padding up to a whole lane becomes 128, which is zero.
template <class Load>
inline void quantize_row(const Load& load_at, int64_t width, uint8_t* out, float* out_scale) {
  F32 most = zero();
  columns(width, [&](int64_t c, int64_t lanes) { most = max(most, abs(load_at(c, lanes))); });
  const float top = largest(most);
  *out_scale = top > 0.0f ? top / 127.0f : 1.0f;
  const F32 inverse = set1(top > 0.0f ? 127.0f / top : 0.0f);
  columns(width, [&](int64_t c, int64_t lanes) {
    const F32 x = load_at(c, lanes) * inverse;
    if (lanes == kLanes) return store_u8(out + c, x);
    uint8_t whole[kLanes];
    store_u8(whole, x);
    for (int64_t i = 0; i < lanes; ++i) out[c + i] = whole[i];
  });
  for (int64_t c = width; c % 4; ++c) out[c] = 128;
}

constexpr float kLeastTop = 1e-36f;  // 127 over less than this may be infinite

template <class Load>
inline void quantize_groups(const Load& load_at, int64_t width, int8_t* out, float* scale, int32_t* offset) {
  for (int64_t first = 0; first < width; first += kGroup, ++scale, ++offset) {
    const int64_t count = least(kGroup, width - first);
    alignas(64) float values[kGroup] = {};
    columns(count, [&](int64_t c, int64_t lanes) { store_some(values + c, load_at(first + c, lanes), lanes); });
    F32 most = zero(), poison = zero();  // zero times what is not finite is NaN
    for (int64_t c = 0; c < kGroup; c += kLanes) {
      most = max(most, abs(load(values + c)));
      poison = fma(load(values + c), zero(), poison);
    }
    const float top = largest(most);
    *scale = top / 127.0f + sum(poison);
    const F32 inverse = set1(top < kLeastTop ? 0.0f : 127.0f / top);
    alignas(64) uint8_t whole[kGroup];
    for (int64_t c = 0; c < kGroup; c += kLanes) store_u8(whole + c, load(values + c) * inverse);
    int32_t total = 0;
    for (int64_t i = 0; i < kGroup; ++i) total += whole[i];
    *offset = -8 * (total - 128 * static_cast<int32_t>(kGroup));
    for (int64_t i = 0; i < round_up(count, per_lane(Type::s4)); ++i)
      out[first + i] = static_cast<int8_t>(whole[i] - 128);
  }
}

template <class Out>
void norm_rows_as(const Norm& n, int64_t first, int64_t rows) {
  const float inverse_width = 1.0f / static_cast<float>(n.width);
  for (int64_t r = first; r < first + rows; ++r) {
    const float* x = n.in.row<float>(r);
    float mean = 0.0f;
    if (n.centred) {
      F32 total = zero();
      columns(n.width, [&](int64_t c, int64_t lanes) { total += load_some(x + c, lanes); });
      mean = sum(total) * inverse_width;
    }
    F32 squares = zero();
    columns(n.width, [&](int64_t c, int64_t lanes) {
      if (lanes == kLanes) {
        const F32 d = load(x + c) - set1(mean);
        squares = fma(d, d, squares);
      } else {  // the unused lanes must stay zero
        float rest[kLanes] = {};
        store_some(rest, load_some(x + c, lanes) - set1(mean), lanes);
        const F32 d = load(rest);
        squares = fma(d, d, squares);
      }
    });
    const F32 factor = set1(1.0f / __builtin_sqrtf(sum(squares) * inverse_width + n.eps)), centre = set1(mean);
    const int64_t group = n.group_rows ? r / n.group_rows * n.group_stride : 0;
    const float* residual = n.residual ? n.residual.row<float>(r) : nullptr;
    const auto value = [&](int64_t c, int64_t lanes) {
      F32 y = (load_some(x + c, lanes) - centre) * factor;
      if (n.weight) y = y * load_some(n.weight + c, lanes);
      if (n.bias) y = y + load_some(n.bias + c, lanes);
      if (n.scale)
        y = fma(y, set1(1.0f) + load_some(n.scale + group + c, lanes), load_some(n.shift + group + c, lanes));
      if (residual) y = y + load_some(residual + c, lanes);
      return n.relu ? max(zero(), y) : y;
    };
    if constexpr (std::is_same_v<Out, int8_t>) {
      const int64_t groups = ceil_div(n.width, kGroup);
      quantize_groups(value, n.width, n.out.row<int8_t>(r), n.out_scale + r * groups, n.out_offset + r * groups);
    } else if constexpr (std::is_same_v<Out, uint8_t>) {
      quantize_row(value, n.width, n.out.row<uint8_t>(r), n.out_scale + r);
    } else {
      Out* out = n.out.row<Out>(r);
      columns(n.width, [&](int64_t c, int64_t lanes) { store_some(out + c, value(c, lanes), lanes); });
    }
  }
}

inline void norm_rows(const Norm& n, int64_t first, int64_t rows) {
  if (n.out.type == Type::f32) return norm_rows_as<float>(n, first, rows);
  if (n.out.type == Type::bf16) return norm_rows_as<bf16>(n, first, rows);
  if (n.out.type == Type::s8) return norm_rows_as<int8_t>(n, first, rows);
  norm_rows_as<uint8_t>(n, first, rows);
}

template <class T>
inline void quantize_rows_of(const Quantize& q, int64_t first, int64_t rows) {
  const int64_t groups = ceil_div(q.width, kGroup);
  for (int64_t r = first; r < first + rows; ++r) {
    const T* x = q.in.row<T>(r);
    const auto value = [&](int64_t c, int64_t n) { return load_some(x + c, n); };
    if (q.out.type == Type::s8)
      quantize_groups(value, q.width, q.out.row<int8_t>(r), q.out_scale + r * groups, q.out_offset + r * groups);
    else
      quantize_row(value, q.width, q.out.row<uint8_t>(r), q.out_scale + r);
  }
}

inline void quantize_rows(const Quantize& q, int64_t first, int64_t rows) {
  q.in.type == Type::f32 ? quantize_rows_of<float>(q, first, rows) : quantize_rows_of<bf16>(q, first, rows);
}

inline void softmax(float* x, int64_t count, float temperature) {
  float most = x[0], total = 0.0f;
  for (int64_t k = 1; k < count; ++k) most = x[k] > most ? x[k] : most;
  for (int64_t k = 0; k < count; ++k) total += x[k] = __builtin_expf((x[k] - most) / temperature);
  for (int64_t k = 0; k < count; ++k) x[k] /= total;
}

template <class T>
inline void mix_rows_of(const Mix& m, int64_t first, int64_t rows) {
  for (int64_t r = first; r < first + rows; ++r) {
    float *weights = m.weights.row<float>(r), *out = m.out.row<float>(r);
    softmax(weights, m.depth, m.temperature);
    columns(m.width, [&](int64_t c, int64_t lanes) {
      F32 mixed = zero();
      for (int64_t k = 0; k < m.depth; ++k)
        mixed = fma(set1(weights[k] * m.scales[k]), load_some(m.levels.row<T>(k * m.level_rows + r) + c, lanes), mixed);
      store_some(out + c, mixed, lanes);
    });
  }
}

inline void mix_rows(const Mix& m, int64_t first, int64_t rows) {
  m.levels.type == Type::f32 ? mix_rows_of<float>(m, first, rows) : mix_rows_of<bf16>(m, first, rows);
}

}  // namespace spar::cpu::ENGINE_ISA
