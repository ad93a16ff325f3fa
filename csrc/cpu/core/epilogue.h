// What happens to a finished piece of a product, while it is still in the first-level cache.
#pragma once

#include <type_traits>

#include "core/gemm.h"
#include "core/math.h"

namespace spar::cpu::ENGINE_ISA {

inline int64_t out_row(const Epilogue& end, int64_t m) {
  if (end.phase_width == 0) return m - end.first_row;
  const int64_t x = m % end.phase_width, line = m / end.phase_width;
  const int64_t y = line % end.phase_height, picture = line / end.phase_height;
  return ((picture * end.phase_height + y) * 2 + end.phase_y) * 2 * end.phase_width + 2 * x + end.phase_x;
}

inline F32 activate(Act act, F32 x) {
  switch (act) {
    case Act::silu: return silu(x);
    case Act::gelu_erf: return gelu_erf(x);
    case Act::gelu_tanh: return gelu_tanh(x);
    default: return x;
  }
}

// One accumulator vector as the value of the product, bias included.
template <class Acc>
inline F32 value_of(const Gemm& g, const Acc* acc, int64_t m, int64_t column, int64_t lanes) {
  const PackedLinear& w = *g.w;
  F32 x;
  if constexpr (std::is_same_v<Acc, int32_t>) {
    const I32 whole = load(acc) - times_128(load_some(w.sums + column, lanes));
    x = to_f32(whole) * set1(g.a_scale[m]) * load_some(w.scale + column, lanes);
  } else {
    x = load(acc);
  }
  return w.bias ? x + load_some(w.bias + column, lanes) : x;
}

template <class Acc, class Out>
void finish_rows(const Gemm& g, const Acc* acc, int64_t acc_stride, int64_t first_row, int64_t rows, int64_t column,
                 int64_t count) {
  const Epilogue& end = g.end;
  for (int64_t r = 0; r < rows; ++r) {
    const int64_t m = first_row + r, to = out_row(end, m);
    const Acc* sums = acc + r * acc_stride;
    Out* out = end.out.row<Out>(to);
    if (end.act == Act::glu_silu) {
      constexpr int64_t half = kPanel / 2;
      for (int64_t p = 0; p < count; p += kPanel)
        for (int64_t i = 0; i < half; i += kLanes) {
          const F32 gate = value_of(g, sums + p + i, m, column + p + i, kLanes);
          const F32 value = value_of(g, sums + p + half + i, m, column + p + half + i, kLanes);
          store(out + (column + p) / 2 + i, silu(gate) * value);
        }
      continue;
    }
    const float* gate =
        end.gate ? end.gate + (end.gate_rows ? m / end.gate_rows * end.gate_stride : 0) + column : nullptr;
    const float* residual = end.residual ? end.residual.row<float>(to) + column : nullptr;
    columns(count, [&](int64_t c, int64_t lanes) {
      F32 x = activate(end.act, value_of(g, sums + c, m, column + c, lanes));
      if (gate) x = x * load_some(gate + c, lanes);
      if (residual) x = x + load_some(residual + c, lanes);
      store_some(out + column + c, x, lanes);
    });
  }
}

// Writes rows x count results whose sums are at `acc`; `count` may pass the last real column, which is not written.
template <class Acc>
void finish(const Gemm& g, const Acc* acc, int64_t acc_stride, int64_t first_row, int64_t rows, int64_t column,
            int64_t count) {
  if (count > g.w->n - column) count = g.w->n - column;
  if (g.end.out.type == Type::f32)
    finish_rows<Acc, float>(g, acc, acc_stride, first_row, rows, column, count);
  else
    finish_rows<Acc, bf16>(g, acc, acc_stride, first_row, rows, column, count);
}

}  // namespace spar::cpu::ENGINE_ISA
