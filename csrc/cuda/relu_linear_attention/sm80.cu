// A block does one head of up to 256 tokens; longer sequences are split into such chunks and take a second launch.
//
//   1. state[value dim][key dim] = sum over tokens of value relu(key)^T, and total[key dim] = sum of relu(key):
//      tensor cores, each of eight warps over its 32 tokens, then the warps' sums in order.
//   2. out = relu(query) state^T / (relu(query) total + eps): tensor cores again. The float32 state is cut into three
//      bf16 numbers of 8 bits each, whose sum is exact, so nothing of it is lost.
//
// No atomics: every sum has one order. With several chunks, launch 1 writes the chunks' states to the workspace, launch 2
// adds them in order and applies them.
#include "core/tiles.h"
#include "core/vectors.h"
#include "engine/cuda.h"

namespace spar::cuda {
namespace {

inline constexpr int kWarps = 8, kThreads = 32 * kWarps, kChunk = 256, kTokensPerWarp = kChunk / kWarps;
inline constexpr uint32_t kOnes = 0x3f803f80u;

// A state and its total in float32. The rows' distance keeps the accumulators of half a warp in different banks.
template <int dim>
struct State {
  float value[dim + 1][padded(dim)];  // row dim: total
};

template <int dim>
struct Shared {
  uint16_t query[kChunk][padded(dim)];
  union {
    uint16_t inputs[2][kChunk][padded(dim)];  // keys, values
    State<dim> partial[kWarps];
  };
  uint16_t piece[3][dim + 8][padded(dim)];  // the state in three parts; rows past dim: total, then zeros
};

__device__ __forceinline__ void store_two(float* to, float x, float y) {
  *reinterpret_cast<float2*>(to) = make_float2(x, y);
}

// State and total of this warp's tokens. The rows of `total` are all the same.
template <int dim>
__device__ __forceinline__ void gather(const Shared<dim>& shared, State<dim>& to) {
  float sums[dim / 16][dim / 8][4] = {}, total[dim / 8][4] = {};
  const uint32_t ones[4] = {kOnes, kOnes, kOnes, kOnes};
#pragma unroll
  for (int step = 0; step < kTokensPerWarp / 16; ++step) {
    const int token = warp_id() * kTokensPerWarp + step * 16;
    uint32_t values[dim / 16][4];
#pragma unroll
    for (int i = 0; i < dim / 16; ++i) load_a_transposed(values[i], &shared.inputs[1][token][i * 16], padded(dim));
#pragma unroll
    for (int j = 0; j < dim / 16; ++j) {
      uint32_t keys[4];
      load_b_transposed(keys, &shared.inputs[0][token][j * 16], padded(dim));
#pragma unroll
      for (int r = 0; r < 4; ++r) keys[r] = relu(keys[r]);
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        multiply_add(total[2 * j + half], ones, keys[2 * half], keys[2 * half + 1]);
#pragma unroll
        for (int i = 0; i < dim / 16; ++i)
          multiply_add(sums[i][2 * j + half], values[i], keys[2 * half], keys[2 * half + 1]);
      }
    }
  }
  __syncthreads();  // the states take the place of keys and values
  const int g = lane_id() / 4, t = lane_id() % 4;
#pragma unroll
  for (int j = 0; j < dim / 8; ++j) {
    const int column = j * 8 + 2 * t;
#pragma unroll
    for (int i = 0; i < dim / 16; ++i) {
      store_two(&to.value[i * 16 + g][column], sums[i][j][0], sums[i][j][1]);
      store_two(&to.value[i * 16 + g + 8][column], sums[i][j][2], sums[i][j][3]);
    }
    if (g == 0) store_two(&to.value[dim][column], total[j][0], total[j][1]);
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

template <int dim>
__device__ __forceinline__ void apply(const Shared<dim>& shared, const ReluLinearAttention& args, uint16_t* out,
                                      int64_t tokens) {
  const int g = lane_id() / 4, t = lane_id() % 4;
#pragma unroll 1
  for (int step = 0; step < kTokensPerWarp / 16; ++step) {
    const int token = warp_id() * kTokensPerWarp + step * 16;
    float sums[dim / 8 + 1][4] = {};
#pragma unroll
    for (int k = 0; k < dim / 16; ++k) {
      uint32_t queries[4];
      load_a(queries, &shared.query[token][k * 16], padded(dim));
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
}

enum class Part { whole, states, result };  // what a launch does: all of it, or the first or second of two

template <int dim, Part part>
__global__ void __launch_bounds__(kThreads, 2) attend(ReluLinearAttention args, State<dim>* chunks) {
  Shared<dim>& shared = *shared_memory<Shared<dim>>();
  const int64_t entry = blockIdx.z, head = blockIdx.y, first = static_cast<int64_t>(blockIdx.x) * kChunk;
  const int64_t tokens = args.tokens - first < kChunk ? args.tokens - first : kChunk;
  const auto at = [&](const void* array, const Strides& strides) {
    return static_cast<const uint16_t*>(array) + entry * strides.batch + head * strides.head + first * strides.token;
  };
  if constexpr (part != Part::result) {
    fetch<kChunk, dim, kThreads>(&shared.inputs[0][0][0], at(args.key, args.key_strides), args.key_strides.token, tokens, dim);
    fetch<kChunk, dim, kThreads>(&shared.inputs[1][0][0], at(args.value, args.value_strides), args.value_strides.token,
                                 tokens, dim);
    copy_commit();
  }
  if constexpr (part != Part::states)
    fetch<kChunk, dim, kThreads>(&shared.query[0][0], at(args.query, args.query_strides), args.query_strides.token, tokens,
                                 dim);
  copy_commit();
  State<dim>* mine = chunks + (entry * args.heads + head) * gridDim.x;
  if constexpr (part != Part::result) {
    copy_wait<1>();
    __syncthreads();
    gather(shared, shared.partial[warp_id()]);
    __syncthreads();
  }
  for (int index = threadIdx.x; index < (dim + 8) * dim; index += kThreads) {
    const int row = index / dim, column = index % dim;
    float sum = 0;
    if (row <= dim) {
      if constexpr (part == Part::result)
        for (unsigned chunk = 0; chunk < gridDim.x; ++chunk) sum += mine[chunk].value[row][column];
      else
        for (int warp = 0; warp < kWarps; ++warp) sum += shared.partial[warp].value[row][column];
    }
    if constexpr (part != Part::states)
      store_pieces(shared, row, column, sum);
    else if (row <= dim)
      mine[blockIdx.x].value[row][column] = sum;
  }
  if constexpr (part != Part::states) {
    copy_wait<0>();
    __syncthreads();
    const uint16_t* out = at(args.out, args.out_strides);
    apply(shared, args, const_cast<uint16_t*>(out), tokens);
  }
}

template <int dim>
void run(const ReluLinearAttention& args, void* workspace, Stream stream) {
  const dim3 grid(static_cast<unsigned>((args.tokens + kChunk - 1) / kChunk), static_cast<unsigned>(args.heads),
                  static_cast<unsigned>(args.batch));
  const char* op = "relu_linear_attention";
  auto* chunks = static_cast<State<dim>*>(workspace);
  if (grid.x == 1) return launch(op, attend<dim, Part::whole>, grid, kThreads, sizeof(Shared<dim>), stream, args, chunks);
  launch(op, attend<dim, Part::states>, grid, kThreads, sizeof(Shared<dim>), stream, args, chunks);
  launch(op, attend<dim, Part::result>, grid, kThreads, sizeof(Shared<dim>), stream, args, chunks);
}

}  // namespace

int64_t relu_linear_attention_workspace(int64_t batch, int64_t heads, int64_t tokens, int64_t head_dim) {
  const int64_t chunks = (tokens + kChunk - 1) / kChunk;
  const int64_t bytes = head_dim == 16 ? sizeof(State<16>) : sizeof(State<32>);
  return chunks <= 1 ? 0 : batch * heads * chunks * bytes;
}

void relu_linear_attention(const ReluLinearAttention& args, void* workspace, Stream stream) {
  if (args.batch * args.heads * args.tokens == 0) return;
  if (args.head_dim == 16) return run<16>(args, workspace, stream);
  run<32>(args, workspace, stream);
}

}  // namespace spar::cuda
