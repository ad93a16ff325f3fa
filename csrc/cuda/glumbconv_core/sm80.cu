// A block does 16 x 16 pixels of 32 channels of both halves. SiLU is applied once on the way into shared memory, where
// the tile lies with its rim: two planes of 18 x 18 pixels x 32 channels bf16, 41 KB.
//
//   plane[half][pixel][channel]   a pixel is 64 bytes, so that half a warp (8 channel groups x 2 columns) reads 128
//                                 neighbouring bytes: no bank conflicts
//
// A thread owns four channels of one column and does four rows at a time: a value is read from shared memory 4.5 times, not
// nine, and both halves' sums and taps fit into registers.
#include "core/vectors.h"
#include "engine/cuda.h"

namespace spar::cuda {
namespace {

inline constexpr int kTile = 16, kRim = kTile + 2, kPixels = kRim * kRim, kChannels = 32, kThreads = 128;
inline constexpr int kStrip = 4;  // rows that a thread sums at a time
inline constexpr int kLoads = 2 * kPixels * kChannels / 8;  // of 16 bytes
inline constexpr int kFlight = 7;                           // loads of a thread that are on their way at a time

struct Shared {
  uint16_t plane[2][kPixels][kChannels];
};

__device__ __forceinline__ float silu(float x) { return __fdividef(x, 1 + __expf(-x)); }

__device__ __forceinline__ uint32_t silu(uint32_t pair) { return narrow(silu(first_of(pair)), silu(second_of(pair))); }

// Where 16-byte piece `index` of the tile lies.
struct Piece {
  int half, pixel, channel;
  __device__ __forceinline__ explicit Piece(int index)
      : half(index / (kPixels * 4)), pixel(index / 4 % kPixels), channel(index % 4 * 8) {}
};

__device__ __forceinline__ void fill(Shared& shared, const GlumbconvCore& args, int64_t row0, int64_t column0,
                                     int64_t channel0, int64_t entry) {
#pragma unroll 1
  for (int base = threadIdx.x; base < kLoads; base += kFlight * kThreads) {
    uint4 raw[kFlight];
#pragma unroll
    for (int i = 0; i < kFlight; ++i) {
      const Piece piece(base + i * kThreads);
      const int64_t row = row0 + piece.pixel / kRim - 1, column = column0 + piece.pixel % kRim - 1;
      const bool inside = base + i * kThreads < kLoads && row >= 0 && row < args.rows && column >= 0 &&
                          column < args.columns && channel0 + piece.channel < args.hidden;
      const uint16_t* from = args.x + ((entry * args.rows + row) * args.columns + column) * 2 * args.hidden +
                             piece.half * args.hidden + channel0 + piece.channel;
      raw[i] = inside ? *reinterpret_cast<const uint4*>(from) : make_uint4(0, 0, 0, 0);  // the padding: SiLU(0) is 0
    }
#pragma unroll
    for (int i = 0; i < kFlight; ++i) {
      if (base + i * kThreads >= kLoads) break;
      const Piece piece(base + i * kThreads);
      *reinterpret_cast<uint4*>(&shared.plane[piece.half][piece.pixel][piece.channel]) =
          make_uint4(silu(raw[i].x), silu(raw[i].y), silu(raw[i].z), silu(raw[i].w));
    }
  }
}

// sums[row][channel] of kStrip rows from `row0` of the tile: bias + depthwise 3x3, taps in order.
__device__ __forceinline__ void convolve(float (&sums)[kStrip][4], const uint16_t (*plane)[kChannels], int row0, int column,
                                         int channel, const uint16_t* weight, int64_t channels, const float* bias) {
  float tap[9][4];
#pragma unroll
  for (int i = 0; i < 9; ++i) {
    const uint2 raw = *reinterpret_cast<const uint2*>(weight + i * channels);
    tap[i][0] = first_of(raw.x), tap[i][1] = second_of(raw.x), tap[i][2] = first_of(raw.y), tap[i][3] = second_of(raw.y);
  }
#pragma unroll
  for (int row = 0; row < kStrip; ++row)
#pragma unroll
    for (int j = 0; j < 4; ++j) sums[row][j] = bias[j];
#pragma unroll
  for (int row = 0; row < kStrip + 2; ++row) {
#pragma unroll
    for (int dx = 0; dx < 3; ++dx) {
      const uint2 raw = *reinterpret_cast<const uint2*>(&plane[(row0 + row) * kRim + column + dx][channel]);
      const float x[4] = {first_of(raw.x), second_of(raw.x), first_of(raw.y), second_of(raw.y)};
#pragma unroll
      for (int dy = 0; dy < 3; ++dy)
        if (row - dy >= 0 && row - dy < kStrip)
#pragma unroll
          for (int j = 0; j < 4; ++j) sums[row - dy][j] = fmaf(x[j], tap[3 * dy + dx][j], sums[row - dy][j]);
    }
  }
}

__global__ void __launch_bounds__(kThreads, 3) core(GlumbconvCore args) {
  Shared& shared = *shared_memory<Shared>();
  const int64_t across = (args.columns + kTile - 1) / kTile;
  const int64_t row0 = blockIdx.x / across * kTile, column0 = blockIdx.x % across * kTile;
  const int64_t channel0 = static_cast<int64_t>(blockIdx.y) * kChannels, entry = blockIdx.z;
  fill(shared, args, row0, column0, channel0, entry);
  __syncthreads();

  const int channel = threadIdx.x % 8 * 4, column = threadIdx.x / 8;
  if (channel0 + channel >= args.hidden || column0 + column >= args.columns) return;
  const int64_t first = channel0 + channel, channels = 2 * args.hidden;
#pragma unroll 1
  for (int strip = 0; strip < kTile / kStrip; ++strip) {
    float value[kStrip][4], gate[kStrip][4];
    convolve(value, shared.plane[0], strip * kStrip, column, channel, args.weight + first, channels, args.bias + first);
    convolve(gate, shared.plane[1], strip * kStrip, column, channel, args.weight + args.hidden + first, channels,
             args.bias + args.hidden + first);
#pragma unroll
    for (int row = 0; row < kStrip; ++row) {
      const int64_t at = row0 + strip * kStrip + row;
      if (at >= args.rows) break;
      float result[4];
#pragma unroll
      for (int j = 0; j < 4; ++j) result[j] = value[row][j] * silu(gate[row][j]);
      uint16_t* to = args.out + ((entry * args.rows + at) * args.columns + column0 + column) * args.hidden + first;
      *reinterpret_cast<uint2*>(to) = make_uint2(narrow(result[0], result[1]), narrow(result[2], result[3]));
    }
  }
}

}  // namespace

void glumbconv_core(const GlumbconvCore& args, Stream stream) {
  const auto pieces = [](int64_t size, int64_t piece) { return static_cast<unsigned>((size + piece - 1) / piece); };
  const dim3 grid(pieces(args.rows, kTile) * pieces(args.columns, kTile), pieces(args.hidden, kChannels),
                  static_cast<unsigned>(args.batch));
  if (grid.x == 0 || grid.y == 0 || grid.z == 0) return;
  launch("glumbconv_core", core, grid, kThreads, sizeof(Shared), stream, args);
}

}  // namespace spar::cuda
