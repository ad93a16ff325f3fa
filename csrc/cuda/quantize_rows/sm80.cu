// Memory bound: one block a row, which stays in registers while its largest element is found, so x is read once.
#include <type_traits>

#include "core/e4m3.h"
#include "core/tiles.h"
#include "core/vectors.h"
#include "engine/cuda.h"

namespace spar::cuda {
namespace {

inline constexpr int kWarps = 4, kThreads = 32 * kWarps;

template <class T, int vectors>
__global__ void __launch_bounds__(kThreads) quantize(QuantizeRows args) {
  float* largest_of_warp = shared_memory<float>();
  const int64_t row = blockIdx.x;
  const int count = static_cast<int>(args.width / 8);
  const T* x = static_cast<const T*>(args.x.data) + row * args.width;
  float held[vectors][8], largest = kLeastRow;
#pragma unroll
  for (int i = 0; i < vectors; ++i) {
    const int eight = i * kThreads + threadIdx.x;
    if (eight >= count) continue;
    load_eight(held[i], x + eight * 8);
    largest = fmaxf(largest, largest_of(held[i]));
  }
  largest = warp_max(largest);
  if (lane_id() == 0) largest_of_warp[warp_id()] = largest;
  __syncthreads();
  for (int warp = 0; warp < kWarps; ++warp) largest = fmaxf(largest, largest_of_warp[warp]);
  const float factor = kLargestE4m3 / largest;
  uint8_t* values = args.values + row * args.width;
#pragma unroll
  for (int i = 0; i < vectors; ++i) {
    const int eight = i * kThreads + threadIdx.x;
    if (eight < count) store_e4m3(values + eight * 8, held[i], factor);
  }
  if (threadIdx.x == 0) args.scales[row] = largest / kLargestE4m3;
}

// Calls `with` with the fewest vectors a thread that hold a row.
template <class With>
void for_width(int64_t width, With&& with) {
  constexpr int64_t one = 8 * kThreads;
  if (width <= one) return with(std::integral_constant<int, 1>());
  if (width <= 2 * one) return with(std::integral_constant<int, 2>());  // spar-1b: 1152
  if (width <= 3 * one) return with(std::integral_constant<int, 3>());  // 2240 and 2880
  if (width <= 6 * one) return with(std::integral_constant<int, 6>());  // spar-3b: 5600
  with(std::integral_constant<int, 8>());
}

}  // namespace

void quantize_rows(const QuantizeRows& args, Stream stream) {
  if (args.rows * args.width == 0) return;
  const dim3 grid(static_cast<unsigned>(args.rows));
  const size_t shared = kWarps * sizeof(float);
  for_width(args.width, [&](auto vectors) {
    if (args.x.dtype == Dtype::bf16)
      launch("quantize_rows", quantize<uint16_t, vectors()>, grid, kThreads, shared, stream, args);
    else
      launch("quantize_rows", quantize<float, vectors()>, grid, kThreads, shared, stream, args);
  });
}

}  // namespace spar::cuda
