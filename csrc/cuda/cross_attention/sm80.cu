// A block does 64 queries of one head and walks over the keys in tiles of 64 that arrive two deep. Eight warps: four times 16
// queries, twice 32 keys of every tile, so that each scheduler of an SM has two warps to choose from. Logits and weights
// stay in registers; the running maximum and sum of a row belong to the four lanes that hold it. At the end the second
// half's results are added to the first's.
//
// head_dim is padded with zeros to a multiple of 16 on chip (72 to 80); keys from lengths[b] on become zeros and get no
// weight. A warp skips a tile in which none of its keys is valid, so every maximum that is used is finite.
#include <type_traits>

#include "core/tiles.h"
#include "core/vectors.h"
#include "engine/cuda.h"

namespace spar::cuda {
namespace {

inline constexpr int kQueries = 64, kRowWarps = kQueries / 16;    // warps over the queries
inline constexpr int kKeys = 64, kParts = 2, kPart = kKeys / kParts;  // keys of a tile, and how many warps share them
inline constexpr int kThreads = 32 * kRowWarps * kParts, kStages = 2;

template <int dim>
struct Shared {
  uint16_t query[kQueries][padded(dim)];
  union {
    struct {
      uint16_t keys[kStages][kKeys][padded(dim)], values[kStages][kKeys][padded(dim)];
    };
    float other[dim / 2 + 4][32 * kRowWarps];  // what the second half found, a column a thread
  };
};

// Rows g and g + 8 of the warp's queries.
struct Softmax {
  float largest[2] = {-INFINITY, -INFINITY}, sum[2] = {0, 0};
};

// Logits of a tile to weights relative to the running maximum; earlier sums and results shrink accordingly.
template <int results>
__device__ __forceinline__ void weigh(float (&logits)[kPart / 8][4], Softmax& softmax, float (&out)[results][4], float scale,
                                      int64_t valid) {
  const int t = lane_id() % 4;
  float shrink[2], largest[2] = {softmax.largest[0], softmax.largest[1]};
#pragma unroll
  for (int j = 0; j < kPart / 8; ++j)
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      if (j * 8 + 2 * t + i % 2 >= valid) logits[j][i] = -INFINITY;
      largest[i / 2] = fmaxf(largest[i / 2], logits[j][i]);
    }
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    largest[half] = row_max(largest[half]);
    shrink[half] = exp2f((softmax.largest[half] - largest[half]) * scale);
    softmax.largest[half] = largest[half];
    softmax.sum[half] *= shrink[half];
  }
#pragma unroll
  for (int j = 0; j < kPart / 8; ++j)
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      logits[j][i] = exp2f((logits[j][i] - largest[i / 2]) * scale);
      softmax.sum[i / 2] += logits[j][i];
    }
#pragma unroll
  for (int n = 0; n < results; ++n)
#pragma unroll
    for (int i = 0; i < 4; ++i) out[n][i] *= shrink[i / 2];
}

template <int dim>
__device__ __forceinline__ void multiply_keys(float (&logits)[kPart / 8][4], const uint16_t (*query)[padded(dim)],
                                              const uint16_t (*keys)[padded(dim)]) {
#pragma unroll
  for (int k = 0; k < dim / 16; ++k) {
    uint32_t a[4];  // read again for every tile: registers are what limits the blocks of an SM
    load_a(a, &query[0][k * 16], padded(dim));
#pragma unroll
    for (int j = 0; j < kPart / 8; j += 2) {
      uint32_t b[4];
      load_b(b, &keys[j * 8][k * 16], padded(dim));
      multiply_add(logits[j], a, b[0], b[1]);
      multiply_add(logits[j + 1], a, b[2], b[3]);
    }
  }
}

// The accumulator layout of two tiles of weights is the operand layout of one step of 16 keys: they stay where they are.
template <int dim>
__device__ __forceinline__ void multiply_values(float (&out)[dim / 8][4], const float (&weights)[kPart / 8][4],
                                                const uint16_t (*values)[padded(dim)]) {
#pragma unroll
  for (int j = 0; j < kPart / 8; j += 2) {
    const uint32_t a[4] = {narrow(weights[j][0], weights[j][1]), narrow(weights[j][2], weights[j][3]),
                           narrow(weights[j + 1][0], weights[j + 1][1]), narrow(weights[j + 1][2], weights[j + 1][3])};
#pragma unroll
    for (int n = 0; n < dim / 8; n += 2) {
      uint32_t b[4];
      load_b_transposed(b, &values[j * 8][n * 8], padded(dim));
      multiply_add(out[n], a, b[0], b[1]);
      multiply_add(out[n + 1], a, b[2], b[3]);
    }
  }
}

// Adds what the warps of the second half of the keys found. All threads of the block take part; the result is whole in the
// threads of the first half.
template <int dim>
__device__ __forceinline__ void merge(Shared<dim>& shared, float (&out)[dim / 8][4], Softmax& softmax, float scale) {
  const int column = threadIdx.x % (32 * kRowWarps);
  if (threadIdx.x >= 32 * kRowWarps) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      shared.other[half][column] = softmax.largest[half];
      shared.other[2 + half][column] = softmax.sum[half];
    }
#pragma unroll
    for (int n = 0; n < dim / 8; ++n)
#pragma unroll
      for (int i = 0; i < 4; ++i) shared.other[4 + n * 4 + i][column] = out[n][i];
  }
  __syncthreads();
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const float theirs = shared.other[half][column], largest = fmaxf(softmax.largest[half], theirs);
    const float keep = exp2f((softmax.largest[half] - largest) * scale), add = exp2f((theirs - largest) * scale);
    softmax.sum[half] = softmax.sum[half] * keep + shared.other[2 + half][column] * add;
#pragma unroll
    for (int n = 0; n < dim / 8; ++n)
#pragma unroll
      for (int i = 2 * half; i < 2 * half + 2; ++i)
        out[n][i] = out[n][i] * keep + shared.other[4 + n * 4 + i][column] * add;
  }
}

template <int dim>
__global__ void __launch_bounds__(kThreads, dim <= 96 ? 2 : 1) attend(CrossAttention args) {
  Shared<dim>& shared = *shared_memory<Shared<dim>>();
  const int64_t entry = blockIdx.z, head = blockIdx.y, first = static_cast<int64_t>(blockIdx.x) * kQueries;
  const int64_t given = args.lengths == nullptr ? args.keys_count : args.lengths[entry];
  const int64_t length = given < args.keys_count ? given : args.keys_count, tiles = (length + kKeys - 1) / kKeys;
  const auto at = [&](const uint16_t* array, const Strides& strides) {
    return array + entry * strides.batch + head * strides.head;
  };
  const uint16_t *keys = at(args.keys, args.keys_strides), *values = at(args.values, args.values_strides);
  const auto fetch_keys = [&](int64_t tile) {  // a tile that does not exist is an empty group: groups stay countable
    if (tile < tiles) {
      const int64_t key = tile * kKeys;
      fetch<kKeys, dim, kThreads>(&shared.keys[tile % kStages][0][0], keys + key * args.keys_strides.token,
                                  args.keys_strides.token, length - key, args.head_dim);
      fetch<kKeys, dim, kThreads>(&shared.values[tile % kStages][0][0], values + key * args.values_strides.token,
                                  args.values_strides.token, length - key, args.head_dim);
    }
    copy_commit();
  };
  fetch<kQueries, dim, kThreads>(&shared.query[0][0], at(args.query, args.query_strides) + first * args.query_strides.token,
                                 args.query_strides.token, args.tokens - first, args.head_dim);
  copy_commit();
  fetch_keys(0);

  const int row = warp_id() % kRowWarps * 16, part = warp_id() / kRowWarps * kPart;
  float out[dim / 8][4] = {};
  Softmax softmax;
  const float scale = args.scale * 1.4426950408889634f;  // exp(x) = exp2(x / ln 2)
  for (int64_t tile = 0; tile < tiles; ++tile) {
    fetch_keys(tile + 1);
    copy_wait<1>();
    __syncthreads();
    const int64_t valid = length - tile * kKeys - part;
    if (valid > 0) {
      float logits[kPart / 8][4] = {};
      multiply_keys<dim>(logits, &shared.query[row], &shared.keys[tile % kStages][part]);
      weigh(logits, softmax, out, scale, valid);
      multiply_values<dim>(out, logits, &shared.values[tile % kStages][part]);
    }
    __syncthreads();  // the next fetch overwrites this stage
  }
  copy_wait<0>();
  if (tiles > 0) merge<dim>(shared, out, softmax, scale);
  if (part > 0) return;

  const int g = lane_id() / 4, t = lane_id() % 4;
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int64_t token = first + row + g + 8 * half;
    const float sum = row_sum(softmax.sum[half]), inverse = tiles > 0 ? 1 / sum : 0;
    if (token >= args.tokens) continue;
    uint16_t* to = args.out + entry * args.out_strides.batch + head * args.out_strides.head + token * args.out_strides.token;
#pragma unroll
    for (int n = 0; n < dim / 8; ++n)
      if (n * 8 < args.head_dim)
        *reinterpret_cast<uint32_t*>(to + n * 8 + 2 * t) = narrow(out[n][2 * half] * inverse, out[n][2 * half + 1] * inverse);
  }
}

template <class With>
void for_head(int64_t head_dim, With&& with) {
  if (head_dim <= 16) return with(std::integral_constant<int, 16>());
  if (head_dim <= 32) return with(std::integral_constant<int, 32>());
  if (head_dim <= 48) return with(std::integral_constant<int, 48>());
  if (head_dim <= 64) return with(std::integral_constant<int, 64>());
  if (head_dim <= 80) return with(std::integral_constant<int, 80>());  // spar-1b: 72
  if (head_dim <= 96) return with(std::integral_constant<int, 96>());
  if (head_dim <= 112) return with(std::integral_constant<int, 112>());  // spar-3b: 112
  with(std::integral_constant<int, 128>());
}

}  // namespace

void cross_attention(const CrossAttention& args, Stream stream) {
  if (args.batch * args.heads * args.tokens * args.head_dim == 0) return;
  const dim3 grid(static_cast<unsigned>((args.tokens + kQueries - 1) / kQueries), static_cast<unsigned>(args.heads),
                  static_cast<unsigned>(args.batch));
  for_head(args.head_dim, [&](auto dim) {
    launch("cross_attention", attend<dim()>, grid, kThreads, sizeof(Shared<dim()>), stream, args);
  });
}

}  // namespace spar::cuda
