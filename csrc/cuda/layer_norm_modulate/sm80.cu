// Memory bound: a row is read once into registers and written once. Four rows a block, for 512 rows 128 blocks.
#include "core/rows.h"
#include "engine/cuda.h"

namespace spar::cuda {
namespace {

template <class T, int vectors>
__global__ void __launch_bounds__(32 * kRowsPerBlock) norm_rows(LayerNormModulate args) {
  const int64_t index = static_cast<int64_t>(blockIdx.x) * kRowsPerBlock + warp_id();
  if (index >= args.batch * args.tokens) return;
  const int64_t entry = index / args.tokens;
  const T* x = static_cast<const T*>(args.x.data) + index * args.width;
  Row<vectors> row;
  row.count = static_cast<int>(args.width / 8);
#pragma unroll
  for (int i = 0; i < vectors; ++i)
    if (row.holds(i)) load_eight(row.x[i], x + row.column(i));
  normalise(row, args.shift + entry * args.shift_stride, args.scale + entry * args.scale_stride, args.eps);
  store(row, index, args.out, args.out_scales);
}

}  // namespace

void layer_norm_modulate(const LayerNormModulate& args, Stream stream) {
  const int64_t rows = args.batch * args.tokens;
  if (rows == 0 || args.width == 0) return;
  const dim3 grid(static_cast<unsigned>((rows + kRowsPerBlock - 1) / kRowsPerBlock)), block(32 * kRowsPerBlock);
  for_width(args.width, [&](auto vectors) {
    if (args.x.dtype == Dtype::bf16)
      launch("layer_norm_modulate", norm_rows<uint16_t, vectors()>, grid, block, 0, stream, args);
    else
      launch("layer_norm_modulate", norm_rows<float, vectors()>, grid, block, 0, stream, args);
  });
}

}  // namespace spar::cuda
