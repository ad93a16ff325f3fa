// Rows of the residual stream, one warp a row: the whole row stays in registers between its norm's passes.
#pragma once

#include <type_traits>

#include "core/e4m3.h"
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

// row becomes (row - mean) / sqrt(variance + eps) * (1 + scale) + shift. All lanes of the warp take part.
template <int vectors>
__device__ __forceinline__ void normalise(Row<vectors>& row, const float* shift, const float* scale, float eps) {
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
    float by[8], plus[8];
    load_eight(by, scale + row.column(i));
    load_eight(plus, shift + row.column(i));
#pragma unroll
    for (int j = 0; j < 8; ++j) row.x[i][j] = (row.x[i][j] - mean) * inverse * (1 + by[j]) + plus[j];
  }
}

// Stores row `index` of a matrix as bf16 or, where there are scales, as e4m3. All lanes of the warp take part.
template <int vectors>
__device__ __forceinline__ void store(const Row<vectors>& row, int64_t index, void* matrix, float* scales) {
  const int64_t start = index * row.count * 8;
  if (scales == nullptr) {
#pragma unroll
    for (int i = 0; i < vectors; ++i)
      if (row.holds(i)) store_eight(static_cast<uint16_t*>(matrix) + start + row.column(i), row.x[i]);
    return;
  }
  float largest = kLeastRow;
#pragma unroll
  for (int i = 0; i < vectors; ++i)
    if (row.holds(i)) largest = fmaxf(largest, largest_of(row.x[i]));
  largest = warp_max(largest);
  const float factor = kLargestE4m3 / largest;
#pragma unroll
  for (int i = 0; i < vectors; ++i)
    if (row.holds(i)) store_e4m3(static_cast<uint8_t*>(matrix) + start + row.column(i), row.x[i], factor);
  if (lane_id() == 0) scales[index] = largest / kLargestE4m3;
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
