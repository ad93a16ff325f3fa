// Rows of the residual stream, one warp a row: the whole row stays in registers between its norm's passes.
#pragma once

#include <type_traits>

#include "core/tiles.h"
#include "core/vectors.h"

namespace spar::cuda {

inline constexpr int kRowsPerBlock = 4;

// A row of up to 256 * vectors elements: lane l holds eights l, l + 32, ... of it; `count` eights exist.
template <int vectors>
struct Row {
  float x[vectors][8];
  int count;

  __device__ __forceinline__ bool holds(int i) const { return i * 32 + lane_id() < count; }
  __device__ __forceinline__ int64_t column(int i) const { return (i * 32 + lane_id()) * 8; }
};

// (row - mean) / sqrt(variance + eps) * (1 + scale) + shift, as bf16. All lanes of the warp take part.
template <int vectors>
__device__ __forceinline__ void normalise(const Row<vectors>& row, const float* shift, const float* scale, float eps,
                                          uint16_t* out) {
  const float width = static_cast<float>(row.count * 8);
  float sum = 0;
#pragma unroll
  for (int i = 0; i < vectors; ++i)
    if (row.holds(i))
#pragma unroll
      for (int j = 0; j < 8; ++j) sum += row.x[i][j];
  const float mean = warp_sum(sum) / width;
  float squares = 0;
#pragma unroll
  for (int i = 0; i < vectors; ++i)
    if (row.holds(i))
#pragma unroll
      for (int j = 0; j < 8; ++j) squares += (row.x[i][j] - mean) * (row.x[i][j] - mean);
  const float inverse = 1 / sqrtf(warp_sum(squares) / width + eps);
#pragma unroll
  for (int i = 0; i < vectors; ++i) {
    if (!row.holds(i)) continue;
    float by[8], plus[8], result[8];
    load_eight(by, scale + row.column(i));
    load_eight(plus, shift + row.column(i));
#pragma unroll
    for (int j = 0; j < 8; ++j) result[j] = (row.x[i][j] - mean) * inverse * (1 + by[j]) + plus[j];
    store_eight(out + row.column(i), result);
  }
}

// Calls `with(std::integral_constant<int, vectors>)` with the fewest vectors a lane that hold `width` elements.
template <class With>
void for_width(int64_t width, With&& with) {
  if (width <= 512) return with(std::integral_constant<int, 2>());
  if (width <= 1280) return with(std::integral_constant<int, 5>());  // spar-1b: 1152
  if (width <= 2304) return with(std::integral_constant<int, 9>());  // spar-3b: 2240
  with(std::integral_constant<int, 16>());
}

}  // namespace spar::cuda
