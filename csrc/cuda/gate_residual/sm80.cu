// Memory bound: x and y are read once, `out` and `normed` written once; without this kernel the norm reads `out` again.
#include "core/rows.h"
#include "engine/cuda.h"

namespace spar::cuda {
namespace {

// Stores eight sums and keeps what was stored: the norm sees the residual stream as the next reader does.
__device__ __forceinline__ void store_and_keep(float* to, float (&x)[8]) { store_eight(to, x); }
__device__ __forceinline__ void store_and_keep(uint16_t* to, float (&x)[8]) {
  store_eight(to, x);
  for (int j = 0; j < 8; ++j) x[j] = widen(narrow(x[j]));
}

// Blocks that one SM must hold: told so, the compiler does not spill two registers to hold one more.
constexpr int residents(int vectors) { return vectors <= 5 ? 6 : 1; }

template <class T, int vectors>
__global__ void __launch_bounds__(32 * kRowsPerBlock, residents(vectors)) add_rows(GateResidual args) {
  const int64_t index = static_cast<int64_t>(blockIdx.x) * kRowsPerBlock + warp_id();
  if (index >= args.batch * args.tokens) return;
  const int64_t entry = index / args.tokens, start = index * args.width;
  const T* x = static_cast<const T*>(args.x.data) + start;
  const uint16_t* y = args.y + start;
  T* out = static_cast<T*>(args.out) + start;
  Row<vectors> row;
  row.count = static_cast<int>(args.width / 8);
#pragma unroll
  for (int i = 0; i < vectors; ++i) {
    if (!row.holds(i)) continue;
    float gate[8], add[8];
    load_eight(row.x[i], x + row.column(i));
    load_eight(add, y + row.column(i));
    for (int j = 0; j < 8; ++j) gate[j] = 1;
    if (args.gate != nullptr) load_eight(gate, args.gate + entry * args.gate_stride + row.column(i));
    for (int j = 0; j < 8; ++j) row.x[i][j] = fmaf(gate[j], add[j], row.x[i][j]);
    store_and_keep(out + row.column(i), row.x[i]);
  }
  if (args.normed == nullptr) return;
  normalise(row, args.shift + entry * args.shift_stride, args.scale + entry * args.scale_stride, args.eps);
  store(row, index, args.normed, args.normed_scales);
}

}  // namespace

void gate_residual(const GateResidual& args, Stream stream) {
  const int64_t rows = args.batch * args.tokens;
  if (rows == 0 || args.width == 0) return;
  const dim3 grid(static_cast<unsigned>((rows + kRowsPerBlock - 1) / kRowsPerBlock)), block(32 * kRowsPerBlock);
  for_width(args.width, [&](auto vectors) {
    if (args.x.dtype == Dtype::bf16)
      launch("gate_residual", add_rows<uint16_t, vectors()>, grid, block, 0, stream, args);
    else
      launch("gate_residual", add_rows<float, vectors()>, grid, block, 0, stream, args);
  });
}

}  // namespace spar::cuda
