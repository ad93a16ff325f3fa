// One thread a pixel of the result, all three channels; neighbours share their samples in L1.
#include "core/vectors.h"
#include "engine/cuda.h"

namespace spar::cuda {
namespace {

inline constexpr int kThreads = 128;

struct Place {
  int low, high;
  float weight;  // of `high`
};

// Where pixel `index` of `wanted` lies among `size` samples: the rational (2 index + 1) size / (2 wanted) - 1/2. Sizes up to
// kLargestPicture keep it in 32 bits.
__device__ __forceinline__ Place place(int index, int size, int wanted) {
  const uint32_t product = (2u * index + 1u) * size, half = wanted, unit = 2u * wanted;
  if (product <= half) return {0, size > 1 ? 1 : 0, 0};
  const uint32_t above = product - half;
  const int low = static_cast<int>(above / unit);
  if (low >= size - 1) return {size - 1, size - 1, 0};
  return {low, low + 1, static_cast<float>(above % unit) / static_cast<float>(unit)};
}

// A NaN becomes 0: fmaxf returns its other operand.
__device__ __forceinline__ float unit_of(float x) { return fmaf(fminf(fmaxf(x, -1.0f), 1.0f), 0.5f, 0.5f); }

__device__ __forceinline__ float between(float low, float high, float weight) {
  return __fadd_rn(low, __fmul_rn(__fadd_rn(high, -low), weight));
}

template <class T>
__global__ void __launch_bounds__(kThreads) resize(ClampResizeUint8 args) {
  const int column = static_cast<int>(blockIdx.x) * kThreads + threadIdx.x, row = blockIdx.y;
  if (column >= args.width) return;
  const Place y = place(row, static_cast<int>(args.rows), static_cast<int>(args.height));
  const Place x = place(column, static_cast<int>(args.columns), static_cast<int>(args.width));
  const T* image = static_cast<const T*>(args.image.data) + blockIdx.z * args.batch_stride;
  uint8_t* out = args.out + ((blockIdx.z * args.height + row) * args.width + column) * 3;
#pragma unroll
  for (int channel = 0; channel < 3; ++channel) {
    const T* plane = image + channel * args.channel_stride;
    const auto sample = [&](int r, int c) {
      return unit_of(load_one(plane + r * args.row_stride + c * args.column_stride));
    };
    const float left = between(sample(y.low, x.low), sample(y.high, x.low), y.weight);
    const float right = between(sample(y.low, x.high), sample(y.high, x.high), y.weight);
    out[channel] = static_cast<uint8_t>(rintf(__fmul_rn(between(left, right, x.weight), 255.0f)));
  }
}

}  // namespace

void clamp_resize_uint8(const ClampResizeUint8& args, Stream stream) {
  if (args.batch * args.height * args.width == 0) return;
  const dim3 grid(static_cast<unsigned>((args.width + kThreads - 1) / kThreads), static_cast<unsigned>(args.height),
                  static_cast<unsigned>(args.batch));
  if (args.image.dtype == Dtype::bf16)
    launch("clamp_resize_uint8", resize<uint16_t>, grid, kThreads, 0, stream, args);
  else
    launch("clamp_resize_uint8", resize<float>, grid, kThreads, 0, stream, args);
}

}  // namespace spar::cuda
