// A block does a span of tokens of one head: all of them where heads and batch alone fill a GPU or there are at most 256;
// otherwise a head's tokens are split into up to 16 spans, whose blocks are a cluster or, where the GPU has no clusters of
// that size, a second launch follows.
//
//   1. state[value dim][key dim] = sum over tokens of value relu(key)^T, and total[key dim] = sum of relu(key):
//      tensor cores, each of eight warps over its 16 tokens of every 128, then the warps' sums in order. Keys and values
//      come in stages of 128 tokens, the next one on its way while one is used.
//   2. out = relu(query) state^T / (relu(query) total + eps): tensor cores again, over the same stages. The float32 state
//      is cut into three bf16 numbers of 8 bits each, whose sum is exact, so nothing of it is lost.
//
// No atomics: every sum has one order, which follows from the shape alone, so that clusters and two launches give the same
// bits. The blocks of a cluster add up each other's states from shared memory, spans^2 x 5 KB a head. With two launches, the
// first writes the spans' states to the workspace, the second adds them in the same order and applies them to its span, with
// those bytes from L2: for the 8 spans of spar-1b 0.3 MB, beside 1 MB of tokens at 4096 and more as there are more tokens.
#include <algorithm>

#include "core/tiles.h"
#include "core/vectors.h"
#include "engine/cuda.h"

namespace spar::cuda {
namespace {

inline constexpr int kWarps = 8, kThreads = 32 * kWarps, kStage = 16 * kWarps, kStages = 2, kChunk = kStages * kStage;
inline constexpr int64_t kBlocks = 288, kMostSpans = 16;  // blocks that fill a large GPU twice
inline constexpr unsigned kCluster = 8;  // blocks of the largest cluster that every GPU with clusters holds
inline constexpr uint32_t kOnes = 0x3f803f80u;

// A state and its total in float32. The rows' distance keeps the accumulators of half a warp in different banks.
template <int dim>
struct State {
  float value[dim + 1][padded(dim)];  // row dim: total
};

template <int dim>
struct Shared {
  uint16_t query[kStages][kStage][padded(dim)];
  union {
    uint16_t inputs[kStages][2][kStage][padded(dim)];  // keys, values
    State<dim> partial[kWarps];
  };
  uint16_t piece[3][dim + 8][padded(dim)];  // the state in three parts; rows past dim: total, then zeros
};

__device__ __forceinline__ void store_two(float* to, float x, float y) {
  *reinterpret_cast<float2*>(to) = make_float2(x, y);
}

// Sums of a warp over its tokens.
template <int dim>
struct Sums {
  float state[dim / 16][dim / 8][4] = {}, total[dim / 8][4] = {};  // the rows of `total` are all the same
};

// Adds this warp's 16 tokens of one stage.
template <int dim>
__device__ __forceinline__ void gather(const uint16_t (&inputs)[2][kStage][padded(dim)], Sums<dim>& sums) {
  const uint32_t ones[4] = {kOnes, kOnes, kOnes, kOnes};
  const int token = warp_id() * 16;
  uint32_t values[dim / 16][4];
#pragma unroll
  for (int i = 0; i < dim / 16; ++i) load_a_transposed(values[i], &inputs[1][token][i * 16], padded(dim));
#pragma unroll
  for (int j = 0; j < dim / 16; ++j) {
    uint32_t keys[4];
    load_b_transposed(keys, &inputs[0][token][j * 16], padded(dim));
#pragma unroll
    for (int r = 0; r < 4; ++r) keys[r] = relu(keys[r]);
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      multiply_add(sums.total[2 * j + half], ones, keys[2 * half], keys[2 * half + 1]);
#pragma unroll
      for (int i = 0; i < dim / 16; ++i)
        multiply_add(sums.state[i][2 * j + half], values[i], keys[2 * half], keys[2 * half + 1]);
    }
  }
}

template <int dim>
__device__ __forceinline__ void store_sums(const Sums<dim>& sums, State<dim>& to) {
  const int g = lane_id() / 4, t = lane_id() % 4;
#pragma unroll
  for (int j = 0; j < dim / 8; ++j) {
    const int column = j * 8 + 2 * t;
#pragma unroll
    for (int i = 0; i < dim / 16; ++i) {
      store_two(&to.value[i * 16 + g][column], sums.state[i][j][0], sums.state[i][j][1]);
      store_two(&to.value[i * 16 + g + 8][column], sums.state[i][j][2], sums.state[i][j][3]);
    }
    if (g == 0) store_two(&to.value[dim][column], sums.total[j][0], sums.total[j][1]);
  }
}

// The first 8 bits of a float32's significand as bf16, and what is left of it; infinity leaves nothing.
__device__ __forceinline__ uint16_t cut(float& x) {
  const uint32_t bits = __float_as_uint(x) & 0xffff0000u;
  const float head = __uint_as_float(bits);
  x = x == head ? 0.0f : x - head;
  return static_cast<uint16_t>(bits >> 16);
}

template <int dim>
__device__ __forceinline__ void store_pieces(Shared<dim>& shared, int row, int column, float x) {
#pragma unroll
  for (int part = 0; part < 3; ++part) shared.piece[part][row][column] = cut(x);
}

// The state on this warp's 16 tokens of one stage, of which `tokens` exist; `out` is its first token's place.
template <int dim>
__device__ __forceinline__ void apply(const Shared<dim>& shared, const uint16_t (&query)[kStage][padded(dim)],
                                      const ReluLinearAttention& args, uint16_t* out, int64_t tokens) {
  const int g = lane_id() / 4, t = lane_id() % 4, token = warp_id() * 16;
  float sums[dim / 8 + 1][4] = {};
#pragma unroll
  for (int k = 0; k < dim / 16; ++k) {
    uint32_t queries[4];
    load_a(queries, &query[token][k * 16], padded(dim));
#pragma unroll
    for (int r = 0; r < 4; ++r) queries[r] = relu(queries[r]);
#pragma unroll
    for (int part = 2; part >= 0; --part) {  // small parts first
#pragma unroll
      for (int j = 0; j < dim / 8; j += 2) {
        uint32_t state[4];
        load_b(state, &shared.piece[part][j * 8][k * 16], padded(dim));
        multiply_add(sums[j], queries, state[0], state[1]);
        multiply_add(sums[j + 1], queries, state[2], state[3]);
      }
      uint32_t total[4];  // only eight rows: their address twice
      load_matrices(total, &shared.piece[part][dim + lane_id() % 8][k * 16 + lane_id() / 8 % 2 * 8]);
      multiply_add(sums[dim / 8], queries, total[0], total[1]);
    }
  }
  const float low = __shfl_sync(0xffffffffu, sums[dim / 8][0], lane_id() - t) + args.eps;
  const float high = __shfl_sync(0xffffffffu, sums[dim / 8][2], lane_id() - t) + args.eps;
#pragma unroll
  for (int j = 0; j < dim / 8; ++j) {
    uint16_t* to = out + (token + g) * args.out_strides.token + j * 8 + 2 * t;
    if (token + g < tokens) *reinterpret_cast<uint32_t*>(to) = narrow(sums[j][0] / low, sums[j][1] / low);
    to += 8 * args.out_strides.token;
    if (token + g + 8 < tokens) *reinterpret_cast<uint32_t*>(to) = narrow(sums[j][2] / high, sums[j][3] / high);
  }
}

// What a launch does: all of it, a block for a head or a cluster for a head; or the first or second of two.
enum class Part { whole, cluster, states, result };

template <int dim, Part part>
__global__ void __launch_bounds__(kThreads, 2) attend(ReluLinearAttention args, State<dim>* spans, int64_t span) {
  Shared<dim>& shared = *shared_memory<Shared<dim>>();
  const int64_t entry = blockIdx.z, head = blockIdx.y, first = static_cast<int64_t>(blockIdx.x) * span;
  const int64_t tokens = args.tokens - first < span ? args.tokens - first : span;
  const int64_t stages = (tokens + kStage - 1) / kStage;
  const auto at = [&](const void* array, const Strides& strides) {
    return static_cast<const uint16_t*>(array) + entry * strides.batch + head * strides.head + first * strides.token;
  };
  const auto fetch_stage = [&](uint16_t* to, const void* array, const Strides& strides, int64_t stage) {
    if (stage < stages)
      fetch<kStage, dim, kThreads>(to, at(array, strides) + stage * kStage * strides.token, strides.token,
                                   tokens - stage * kStage, dim);
  };
  const auto fetch_inputs = [&](int64_t stage) {
    fetch_stage(&shared.inputs[stage % kStages][0][0][0], args.key, args.key_strides, stage);
    fetch_stage(&shared.inputs[stage % kStages][1][0][0], args.value, args.value_strides, stage);
    copy_commit();
  };
  const auto fetch_query = [&](int64_t stage) {
    fetch_stage(&shared.query[stage % kStages][0][0], args.query, args.query_strides, stage);
    copy_commit();
  };
  if constexpr (part != Part::result)
    for (int stage = 0; stage < kStages; ++stage) fetch_inputs(stage);
  if constexpr (part != Part::states)
    for (int stage = 0; stage < kStages; ++stage) fetch_query(stage);

  State<dim>* mine = spans + (entry * args.heads + head) * gridDim.x;
  if constexpr (part != Part::result) {
    Sums<dim> sums;
    for (int64_t stage = 0; stage < stages; ++stage) {
      // Groups after this stage's: the inputs of the next one, and during the first two the queries.
      if (part != Part::states && stage < kStages)
        copy_wait<1 + kStages>();
      else
        copy_wait<1>();
      __syncthreads();  // everyone's copies of this stage are here
      gather<dim>(shared.inputs[stage % kStages], sums);
      __syncthreads();  // nobody reads what the next fetch, or the states, overwrite
      fetch_inputs(stage + kStages);
    }
    store_sums(sums, shared.partial[warp_id()]);
    __syncthreads();
  }
  const auto each_element = [&](int rows, auto&& what) {
    for (int index = threadIdx.x; index < rows * dim; index += kThreads) what(index / dim, index % dim);
  };
  const auto of_warps = [&](int row, int column) {
    float sum = 0;
    for (int warp = 0; warp < kWarps; ++warp) sum += shared.partial[warp].value[row][column];
    return sum;
  };
  if constexpr (part == Part::states)
    each_element(dim + 1, [&](int row, int column) { mine[blockIdx.x].value[row][column] = of_warps(row, column); });
  if constexpr (part == Part::cluster) {
    each_element(dim + 1, [&](int row, int column) { shared.partial[0].value[row][column] = of_warps(row, column); });
    cluster_arrive();
    cluster_wait();  // every block's state is there
  }
  if constexpr (part != Part::states)
    each_element(dim + 8, [&](int row, int column) {
      float sum = 0;
      if (row > dim) {
      } else if constexpr (part == Part::whole) {
        sum = of_warps(row, column);
      } else {
        for (unsigned other = 0; other < gridDim.x; ++other)
          sum += part == Part::result ? mine[other].value[row][column]
                                      : in_block(&shared.partial[0], other)->value[row][column];
      }
      store_pieces(shared, row, column, sum);
    });
  if constexpr (part == Part::cluster) cluster_arrive();  // no other block's state is read any more
  if constexpr (part != Part::states) {
    uint16_t* out = const_cast<uint16_t*>(at(args.out, args.out_strides));
    copy_wait<0>();
    for (int64_t stage = 0; stage < stages; ++stage) {
      if (stage >= kStages) copy_wait<1>();
      __syncthreads();  // everyone's copies of this stage are here, and before the first the pieces of the state
      apply(shared, shared.query[stage % kStages], args, out + stage * kStage * args.out_strides.token, tokens - stage * kStage);
      __syncthreads();  // nobody reads what the next fetch overwrites
      fetch_query(stage + kStages);
    }
  }
  if constexpr (part == Part::cluster) cluster_wait();  // nobody ends while another reads its state
}

// Tokens of a span, a multiple of kChunk. From the shape alone, so that every GPU sums in the same order.
int64_t span_of(int64_t batch, int64_t heads, int64_t tokens) {
  const int64_t chunks = (tokens + kChunk - 1) / kChunk, wanted = (kBlocks + batch * heads - 1) / (batch * heads);
  const int64_t spans = std::min({chunks, wanted, kMostSpans});
  return (chunks + spans - 1) / spans * kChunk;
}

template <int dim>
void run(const ReluLinearAttention& args, void* workspace, Stream stream) {
  const int64_t span = span_of(args.batch, args.heads, args.tokens);
  const dim3 grid(static_cast<unsigned>((args.tokens + span - 1) / span), static_cast<unsigned>(args.heads),
                  static_cast<unsigned>(args.batch));
  const char* op = "relu_linear_attention";
  auto* spans = static_cast<State<dim>*>(workspace);
  const auto start = [&](auto* kernel) { launch(op, kernel, grid, kThreads, sizeof(Shared<dim>), stream, args, spans, span); };
  if (grid.x == 1) return start(attend<dim, Part::whole>);
  if (grid.x <= kCluster && launch_clusters(op, attend<dim, Part::cluster>, grid, kThreads, sizeof(Shared<dim>), stream, args,
                                            spans, span))
    return;
  start(attend<dim, Part::states>);
  start(attend<dim, Part::result>);
}

}  // namespace

int64_t relu_linear_attention_workspace(int64_t batch, int64_t heads, int64_t tokens, int64_t head_dim) {
  // At least what span_of leads to, and never less for a larger shape: who plans for the largest one asks once.
  const int64_t chunks = (tokens + kChunk - 1) / kChunk, pieces = batch * heads;
  const int64_t bytes = head_dim == 16 ? sizeof(State<16>) : sizeof(State<32>);
  return chunks <= 1 ? 0 : bytes * std::min(pieces * std::min(chunks, kMostSpans), kBlocks + pieces);
}

void relu_linear_attention(const ReluLinearAttention& args, void* workspace, Stream stream) {
  if (args.batch * args.heads * args.tokens == 0) return;
  if (args.head_dim == 16) return run<16>(args, workspace, stream);
  run<32>(args, workspace, stream);
}

}  // namespace spar::cuda
