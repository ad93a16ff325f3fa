#pragma once

#include "core/attention.h"
#include "core/math.h"

namespace spar::cpu::ENGINE_ISA {

// One vector of channels along a line, kernel 3: nine weights and a window of nine values stay in registers.
template <class T, class Write>
inline void line_of_three(const Depthwise& d, const View rows[3], int64_t c, int64_t lanes, const Write& write) {
  F32 w[9], window[3][3];
#pragma GCC unroll 9
  for (int i = 0; i < 9; ++i) w[i] = load_some(d.weight + i * d.channels + c, lanes);
  const F32 bias = d.bias ? load_some(d.bias + c, lanes) : zero();
  const auto column = [&](int64_t x, F32 out[3]) {
#pragma GCC unroll 3
    for (int y = 0; y < 3; ++y) out[y] = rows[y] && x < d.width ? load_some(rows[y].template row<T>(x) + c, lanes) : zero();
  };
#pragma GCC unroll 3
  for (int y = 0; y < 3; ++y) window[0][y] = zero();
  column(0, window[1]);
  for (int64_t x = 0; x < d.width; ++x) {
    column(x + 1, window[2]);
    F32 total = bias;
#pragma GCC unroll 3
    for (int y = 0; y < 3; ++y)
#pragma GCC unroll 3
      for (int i = 0; i < 3; ++i) total = fma(window[i][y], w[y * 3 + i], total);
    write(x, total);
#pragma GCC unroll 3
    for (int y = 0; y < 3; ++y) window[0][y] = window[1][y], window[1][y] = window[2][y];
  }
}

template <class T, class Write>
inline void line_of_any(const Depthwise& d, const View* rows, int64_t c, int64_t lanes, const Write& write) {
  const int reach = d.kernel / 2;
  for (int64_t x = 0; x < d.width; ++x) {
    F32 total = d.bias ? load_some(d.bias + c, lanes) : zero();
    const int64_t from = x < reach ? 0 : x - reach, to = x + reach < d.width ? x + reach : d.width - 1;
    for (int y = 0; y < d.kernel; ++y) {
      if (!rows[y]) continue;
      for (int64_t at = from; at <= to; ++at)
        total = fma(load_some(rows[y].template row<T>(at) + c, lanes),
                    load_some(d.weight + (y * d.kernel + at - x + reach) * d.channels + c, lanes), total);
    }
    write(x, total);
  }
}

template <class T>
void depthwise_as(const Depthwise& d, int64_t line) {
  View rows[kMostDepthwise];
  const int reach = d.kernel / 2;
  const int64_t y = line % d.height;
  for (int i = 0; i < d.kernel; ++i) {
    const int64_t at = y + i - reach;
    if (at >= 0 && at < d.height) rows[i] = d.in.rows((line + i - reach) * d.width);
  }
  const View out = d.out.rows(line * d.width);
  const int64_t channels = d.glu ? d.channels / 2 : d.channels;
  const auto along = [&](int64_t c, int64_t lanes, const auto& write) {
    d.kernel == 3 ? line_of_three<T>(d, rows, c, lanes, write) : line_of_any<T>(d, rows, c, lanes, write);
  };
  columns(channels, [&](int64_t c, int64_t lanes) {
    along(c, lanes, [&](int64_t x, F32 value) { store_some(out.row<T>(x) + c, value, lanes); });
    if (!d.glu) return;
    along(c + channels, lanes, [&](int64_t x, F32 gate) {
      T* to = out.row<T>(x) + c;
      store_some(to, load_some(to, lanes) * silu(gate), lanes);
    });
  });
}

inline void depthwise(const Depthwise& d, int64_t line) {
  if (d.in.type == Type::f32) return depthwise_as<float>(d, line);
  depthwise_as<bf16>(d, line);
}

}  // namespace spar::cpu::ENGINE_ISA
