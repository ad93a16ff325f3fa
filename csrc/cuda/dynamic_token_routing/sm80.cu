// Two launches:
//
//   1. route: blocks of 32 tokens by 32 hidden units. Tensor cores give SiLU(W1 level + b1); its products with the
//      block's columns of W2 are partial logits, [slices, tokens, depth] float32 in the workspace.
//   2. mix: blocks of 16 tokens by 128 columns of the result. Each block adds the partial logits in order, takes the
//      softmax, mixes the levels of its tokens straight into a normalised bf16 row in shared memory, and multiplies it
//      with its columns of the projection. The mix is repeated by every column block: it reads levels from L2, which is
//      cheaper than a third launch or a round trip of the mixed rows through memory.
#include <cstddef>
#include <type_traits>

#include "core/tiles.h"
#include "core/vectors.h"
#include "engine/cuda.h"

namespace spar::cuda {
namespace {

inline constexpr int kDepthOfTile = 64;  // columns of both operands that one stage brings

namespace route {

inline constexpr int kTokens = 32, kHidden = 32, kThreads = 128, kStages = 3;

struct Shared {
  union {
    struct {
      uint16_t level[kStages][kTokens][padded(kDepthOfTile)], weight[kStages][kHidden][padded(kDepthOfTile)];
    };
    float inner[kTokens][kHidden + 1];
  };
};

__device__ __forceinline__ float silu(float x) { return x / (1 + expf(-x)); }

__global__ void __launch_bounds__(kThreads) kernel(DynamicTokenRouting args, float* partial) {
  Shared& shared = *shared_memory<Shared>();
  const int64_t token0 = static_cast<int64_t>(blockIdx.x) * kTokens, hidden0 = static_cast<int64_t>(blockIdx.y) * kHidden;
  const auto* level = static_cast<const uint16_t*>(args.levels.data) + (args.depth - 1) * args.level_stride;
  const auto* w1 = static_cast<const uint16_t*>(args.w1.data);
  const int64_t tiles = (args.width + kDepthOfTile - 1) / kDepthOfTile;
  const auto fetch_tile = [&](int64_t tile) {
    if (tile < tiles) {
      const int64_t k = tile * kDepthOfTile;
      fetch<kTokens, kDepthOfTile, kThreads>(&shared.level[tile % kStages][0][0], level + token0 * args.width + k, args.width,
                                             args.tokens - token0, args.width - k);
      fetch<kHidden, kDepthOfTile, kThreads>(&shared.weight[tile % kStages][0][0], w1 + hidden0 * args.width + k, args.width,
                                             args.hidden - hidden0, args.width - k);
    }
    copy_commit();
  };
  for (int stage = 0; stage < kStages - 1; ++stage) fetch_tile(stage);

  const int row0 = warp_id() % 2 * 16, column0 = warp_id() / 2 * 16;
  float sums[2][4] = {};
  for (int64_t tile = 0; tile < tiles; ++tile) {
    copy_wait<kStages - 2>();
    __syncthreads();  // everyone's copies of this tile are here, and nobody reads the stage that the next fetch fills
    fetch_tile(tile + kStages - 1);
#pragma unroll
    for (int k = 0; k < kDepthOfTile; k += 16) {
      uint32_t a[4], b[4];
      load_a(a, &shared.level[tile % kStages][row0][k], padded(kDepthOfTile));
      load_b(b, &shared.weight[tile % kStages][column0][k], padded(kDepthOfTile));
      multiply_add(sums[0], a, b[0], b[1]);
      multiply_add(sums[1], a, b[2], b[3]);
    }
  }
  copy_wait<0>();
  __syncthreads();  // the hidden units take the place of the operands
  const int g = lane_id() / 4, t = lane_id() % 4;
#pragma unroll
  for (int n = 0; n < 2; ++n)
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int column = column0 + n * 8 + 2 * t + i % 2;
      const int64_t unit = hidden0 + column;
      shared.inner[row0 + g + i / 2 * 8][column] = unit < args.hidden ? silu(sums[n][i] + args.b1[unit]) : 0.0f;
    }
  __syncthreads();

  const auto* w2 = static_cast<const uint16_t*>(args.w2.data) + hidden0;
  const int64_t columns = args.hidden - hidden0 < kHidden ? args.hidden - hidden0 : kHidden;
  for (int64_t index = threadIdx.x; index < kTokens * args.depth; index += kThreads) {
    const int row = static_cast<int>(index % kTokens);
    const int64_t k = index / kTokens;
    if (token0 + row >= args.tokens) continue;
    float sum = 0;
    for (int column = 0; column < columns; ++column)
      sum = fmaf(shared.inner[row][column], widen(w2[k * args.hidden + column]), sum);
    partial[(blockIdx.y * args.tokens + token0 + row) * args.depth + k] = sum;
  }
}

}  // namespace route

namespace mix {

inline constexpr int kTokens = 16, kColumns = 128, kWarps = 8, kThreads = 32 * kWarps, kStages = 2;

struct Shared {
  uint16_t weight[kStages][kColumns][padded(kDepthOfTile)];
  uint16_t normal[1];  // [kTokens][stride], see below
};

// Elements between the normalised rows: whole tiles of k, and 16 bytes so that rows lie in different banks.
constexpr __host__ __device__ int64_t stride_of(int64_t width) {
  return (width + kDepthOfTile - 1) / kDepthOfTile * kDepthOfTile + 8;
}

constexpr size_t shared_bytes(int64_t width) {
  return offsetof(Shared, normal) + static_cast<size_t>(kTokens * stride_of(width)) * sizeof(uint16_t);
}

// Lane k's weight of level k times its scale; 0 beyond the levels.
__device__ __forceinline__ float factor(const DynamicTokenRouting& args, const float* partial, int64_t token) {
  const int64_t k = lane_id(), slices = (args.hidden + route::kHidden - 1) / route::kHidden;
  const bool exists = k < args.depth;
  float logit = -INFINITY;
  if (exists) {
    logit = args.b2[k];
    for (int64_t slice = 0; slice < slices; ++slice) logit += partial[(slice * args.tokens + token) * args.depth + k];
    logit /= args.temperature;
  }
  const float largest = warp_max(logit), raised = exists ? expf(logit - largest) : 0.0f;
  const float weight = raised / warp_sum(raised);
  if (exists && args.weights != nullptr && blockIdx.y == 0) args.weights[token * args.depth + k] = weight;
  return exists ? weight * args.scales[k] : 0.0f;
}

// LayerNorm of sum_k factor_k * level_k of one token, as bf16, zeros up to the stride.
template <int vectors>
__device__ __forceinline__ void mix_row(const DynamicTokenRouting& args, float factor, int64_t token, uint16_t* to) {
  const auto* level = static_cast<const uint16_t*>(args.levels.data) + token * args.width;
  float row[vectors][8] = {};
  for (int k = 0; k < args.depth; ++k) {
    const float by = __shfl_sync(0xffffffffu, factor, k);
#pragma unroll
    for (int i = 0; i < vectors; ++i) {
      const int64_t column = (i * 32 + lane_id()) * 8;
      if (column >= args.width) continue;
      float x[8];
      load_eight(x, level + k * args.level_stride + column);
#pragma unroll
      for (int j = 0; j < 8; ++j) row[i][j] = fmaf(by, x[j], row[i][j]);
    }
  }
  const float width = static_cast<float>(args.width);
  float sum = 0, squares = 0;
#pragma unroll
  for (int i = 0; i < vectors; ++i)
#pragma unroll
    for (int j = 0; j < 8; ++j) sum += row[i][j];
  const float mean = warp_sum(sum) / width;
#pragma unroll
  for (int i = 0; i < vectors; ++i)
    if ((i * 32 + lane_id()) * 8 < args.width)
#pragma unroll
      for (int j = 0; j < 8; ++j) squares += (row[i][j] - mean) * (row[i][j] - mean);
  const float inverse = 1 / sqrtf(warp_sum(squares) / width + args.eps);
#pragma unroll
  for (int i = 0; i < vectors; ++i) {
    const int64_t column = (i * 32 + lane_id()) * 8;
    if (column >= args.width) continue;
    float by[8], plus[8];
    load_eight(by, args.norm_weight + column);
    load_eight(plus, args.norm_bias + column);
#pragma unroll
    for (int j = 0; j < 8; ++j) row[i][j] = (row[i][j] - mean) * inverse * by[j] + plus[j];
    store_eight(to + column, row[i]);
  }
  for (int64_t column = args.width + lane_id(); column < stride_of(args.width); column += 32) to[column] = 0;
}

template <int vectors>
__global__ void __launch_bounds__(kThreads) kernel(DynamicTokenRouting args, const float* partial) {
  Shared& shared = *shared_memory<Shared>();
  const int64_t token0 = static_cast<int64_t>(blockIdx.x) * kTokens, column0 = static_cast<int64_t>(blockIdx.y) * kColumns;
  const int64_t stride = stride_of(args.width), tiles = (args.width + kDepthOfTile - 1) / kDepthOfTile;
  const auto* project = static_cast<const uint16_t*>(args.proj_weight.data) + column0 * args.width;
  const auto fetch_tile = [&](int64_t tile) {
    if (tile < tiles)
      fetch<kColumns, kDepthOfTile, kThreads>(&shared.weight[tile % kStages][0][0], project + tile * kDepthOfTile, args.width,
                                              args.width - column0, args.width - tile * kDepthOfTile);
    copy_commit();
  };
  fetch_tile(0);  // on its way while the rows are mixed
  for (int row = warp_id(); row < kTokens; row += kWarps) {
    uint16_t* to = shared.normal + row * stride;
    if (token0 + row < args.tokens)
      mix_row<vectors>(args, factor(args, partial, token0 + row), token0 + row, to);
    else
      for (int64_t column = lane_id(); column < stride; column += 32) to[column] = 0;
  }

  const int mine = warp_id() * 16;
  float sums[2][4] = {};
  for (int64_t tile = 0; tile < tiles; ++tile) {
    fetch_tile(tile + 1);
    copy_wait<1>();
    __syncthreads();
#pragma unroll
    for (int k = 0; k < kDepthOfTile; k += 16) {
      uint32_t a[4], b[4];
      load_a(a, shared.normal + tile * kDepthOfTile + k, static_cast<int>(stride));
      load_b(b, &shared.weight[tile % kStages][mine][k], padded(kDepthOfTile));
      multiply_add(sums[0], a, b[0], b[1]);
      multiply_add(sums[1], a, b[2], b[3]);
    }
    __syncthreads();  // the next fetch overwrites this stage
  }
  const int g = lane_id() / 4, t = lane_id() % 4;
#pragma unroll
  for (int n = 0; n < 2; ++n) {
    const int64_t column = column0 + mine + n * 8 + 2 * t;
    if (column >= args.width) continue;
    const float first = args.proj_bias[column], second = args.proj_bias[column + 1];
    auto* routed = static_cast<uint16_t*>(args.routed) + column;
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int64_t token = token0 + g + 8 * half;
      if (token < args.tokens)
        *reinterpret_cast<uint32_t*>(routed + token * args.width) =
            narrow(sums[n][2 * half] + first, sums[n][2 * half + 1] + second);
    }
  }
}

template <class With>
void for_width(int64_t width, With&& with) {
  if (width <= 512) return with(std::integral_constant<int, 2>());
  if (width <= 1024) return with(std::integral_constant<int, 4>());  // spar-1b: 896
  if (width <= 1536) return with(std::integral_constant<int, 6>());  // spar-3b: 1536
  with(std::integral_constant<int, 12>());
}

}  // namespace mix

unsigned pieces(int64_t size, int64_t piece) { return static_cast<unsigned>((size + piece - 1) / piece); }

}  // namespace

int64_t dynamic_token_routing_workspace(int64_t tokens, int64_t hidden, int64_t depth) {
  return pieces(hidden, route::kHidden) * tokens * depth * static_cast<int64_t>(sizeof(float));
}

void dynamic_token_routing(const DynamicTokenRouting& args, void* workspace, Stream stream) {
  if (args.tokens * args.width == 0) return;
  auto* partial = static_cast<float*>(workspace);
  if (args.hidden > 0)
    launch("dynamic_token_routing", route::kernel, dim3(pieces(args.tokens, route::kTokens), pieces(args.hidden, route::kHidden)),
           route::kThreads, sizeof(route::Shared), stream, args, partial);
  mix::for_width(args.width, [&](auto vectors) {
    launch("dynamic_token_routing", mix::kernel<vectors()>,
           dim3(pieces(args.tokens, mix::kTokens), pieces(args.width, mix::kColumns)), mix::kThreads,
           mix::shared_bytes(args.width), stream, args, partial);
  });
}

}  // namespace spar::cuda
