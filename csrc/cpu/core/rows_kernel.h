#pragma once

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
    if constexpr (sizeof(Out) == 1) {
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
  norm_rows_as<uint8_t>(n, first, rows);
}

inline void quantize_rows(const Quantize& q, int64_t first, int64_t rows) {
  for (int64_t r = first; r < first + rows; ++r) {
    uint8_t* out = q.out.row<uint8_t>(r);
    if (q.in.type == Type::f32) {
      const float* x = q.in.row<float>(r);
      quantize_row([&](int64_t c, int64_t n) { return load_some(x + c, n); }, q.width, out, q.out_scale + r);
    } else {
      const bf16* x = q.in.row<bf16>(r);
      quantize_row([&](int64_t c, int64_t n) { return load_some(x + c, n); }, q.width, out, q.out_scale + r);
    }
  }
}

}  // namespace spar::cpu::ENGINE_ISA
