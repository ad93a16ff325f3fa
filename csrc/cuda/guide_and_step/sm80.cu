// Element by element. Products and sums are rounded one by one, so that every GPU and build gives the same bits.
#include "core/vectors.h"
#include "engine/cuda.h"

namespace spar::cuda {
namespace {

inline constexpr int kThreads = 128;

template <class V>
__global__ void __launch_bounds__(kThreads) step(GuideAndStep args) {
  const int64_t index = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x, count = args.images * args.size;
  if (index >= count) return;
  const V* velocity = static_cast<const V*>(args.velocity.data);
  const float sigma = args.table[4 * args.step], a = args.table[4 * args.step + 1], b = args.table[4 * args.step + 2],
              c = args.table[4 * args.step + 3];
  float v = load_one(velocity + index);
  if (args.branches == 2) {
    const float conditional = load_one(velocity + count + index);
    v = __fadd_rn(v, __fmul_rn(args.guidance[index / args.size], __fadd_rn(conditional, -v)));
  }
  const float latent = args.latent[index], data = __fadd_rn(latent, -__fmul_rn(sigma, v));
  float next = __fadd_rn(__fmul_rn(a, latent), __fmul_rn(b, data));
  if (c != 0) next = __fadd_rn(next, __fmul_rn(c, args.data[index]));  // before the first step `data` may hold anything
  args.data[index] = data;
  args.out[index] = next;
  if (args.model_input != nullptr) args.model_input[index] = narrow(next);
}

}  // namespace

void guide_and_step(const GuideAndStep& args, Stream stream) {
  const int64_t count = args.images * args.size;
  if (count == 0) return;
  const dim3 grid(static_cast<unsigned>((count + kThreads - 1) / kThreads));
  if (args.velocity.dtype == Dtype::bf16)
    launch("guide_and_step", step<uint16_t>, grid, kThreads, 0, stream, args);
  else
    launch("guide_and_step", step<float>, grid, kThreads, 0, stream, args);
}

}  // namespace spar::cuda
