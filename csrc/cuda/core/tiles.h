// bf16 tiles in shared memory and their products on tensor cores.
//
// Who holds what of sums[16, 8] += a[16, 16] b[16, 8], for lane l with g = l / 4 and t = l % 4:
//
//   a     registers 0..3: rows g, g + 8, g, g + 8 by columns 2t, 2t, 2t + 8, 2t + 8 and the next one
//   b     registers 0, 1: rows 2t, 2t + 8 and the next one of column g
//   sums  0, 1: row g, columns 2t and 2t + 1;  2, 3: row g + 8, the same columns
//
// Rows of a tile are `stride` elements apart. With a stride of 16 i + 8 the eight rows of a matrix lie in different banks.
#pragma once

#include "core/device.h"

namespace spar::cuda {

__device__ __forceinline__ int lane_id() { return threadIdx.x % 32; }
__device__ __forceinline__ int warp_id() { return threadIdx.x / 32; }

// Elements between the rows of a tile with `columns` columns, a multiple of 16, so that no two rows share banks.
constexpr __host__ __device__ int padded(int columns) { return columns + 8; }

// a[16, 16] from rows that are stored along k.
__device__ __forceinline__ void load_a(uint32_t (&a)[4], const uint16_t* tile, int stride) {
  const int lane = lane_id();
  load_matrices(a, tile + (lane % 16) * stride + lane / 16 * 8);
}

// a[16, 16] from its transpose: tile[k][row].
__device__ __forceinline__ void load_a_transposed(uint32_t (&a)[4], const uint16_t* tile, int stride) {
  const int lane = lane_id();
  load_matrices_transposed(a, tile + (lane % 8 + lane / 16 * 8) * stride + lane / 8 % 2 * 8);
}

// b[16, 16] from its transpose, tile[column][k]: registers 0, 1 are those of columns 0..7, registers 2, 3 of 8..15.
__device__ __forceinline__ void load_b(uint32_t (&b)[4], const uint16_t* tile, int stride) {
  const int lane = lane_id();
  load_matrices(b, tile + (lane % 8 + lane / 16 * 8) * stride + lane / 8 % 2 * 8);
}

// b[16, 16] from rows tile[k][column].
__device__ __forceinline__ void load_b_transposed(uint32_t (&b)[4], const uint16_t* tile, int stride) {
  const int lane = lane_id();
  load_matrices_transposed(b, tile + (lane % 16) * stride + lane / 16 * 8);
}

// Sums over the four lanes that hold one row of `sums`; every one of them gets the result.
__device__ __forceinline__ float row_sum(float x) {
  x += __shfl_xor_sync(0xffffffffu, x, 1);
  return x + __shfl_xor_sync(0xffffffffu, x, 2);
}

__device__ __forceinline__ float row_max(float x) {
  x = fmaxf(x, __shfl_xor_sync(0xffffffffu, x, 1));
  return fmaxf(x, __shfl_xor_sync(0xffffffffu, x, 2));
}

// Starts copying rows [0, rows) of a matrix into a tile; rows from `valid_rows` on and columns from `valid_columns` on
// become zeros. Columns count in eights. All threads of the block take part.
template <int rows, int columns, int threads>
__device__ __forceinline__ void fetch(uint16_t* tile, const uint16_t* matrix, int64_t stride, int64_t valid_rows,
                                      int64_t valid_columns) {
  constexpr int vectors = columns / 8;
#pragma unroll
  for (int first = 0; first < rows * vectors; first += threads) {
    const int index = first + threadIdx.x, row = index / vectors, column = index % vectors * 8;
    if (rows * vectors % threads != 0 && index >= rows * vectors) break;
    const bool valid = row < valid_rows && column < valid_columns;
    copy_async(tile + row * padded(columns) + column, valid ? matrix + row * stride + column : matrix, valid);
  }
}

}  // namespace spar::cuda
