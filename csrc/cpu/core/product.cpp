#include "core/product.h"

#include <algorithm>

namespace spar::cpu {
namespace {

// Bytes of A that a task keeps in the second-level cache beside its share of the weights.
constexpr int64_t kRowsInL2 = 640 << 10;
// Multiply-adds of a task: about a tenth of a millisecond, so that a lost processor costs little.
constexpr int64_t kTaskWork = 40'000'000;

}  // namespace

void product(const Kernels& kernels, Pool::Seat& seat, Arena& arena, const Gemm& g) {
  const PackedLinear& w = *g.w;
  if (g.m <= 0 || w.n <= 0) return;
  const int64_t row_bytes = (g.taps ? g.taps->channels * 3 : w.k) * size_of(g.a.type);
  int64_t rows = std::clamp(kRowsInL2 / row_bytes / 48 * 48, int64_t{96}, kTaskRows);
  rows = round_up(ceil_div(g.m, ceil_div(g.m, rows)), 6);
  const int64_t row_tasks = ceil_div(g.m, rows), panels = w.panels();
  int64_t wide = std::max<int64_t>(2, kTaskWork / (std::min(rows, g.m) * w.k * kPanel));
  wide = round_up(std::min(wide, std::max<int64_t>(2, ceil_div(panels * row_tasks, 4 * seat.threads()))), 2);
  const int64_t panel_tasks = ceil_div(panels, wide);
  Frame frame(arena);
  char* scratch = arena.take_bytes(static_cast<size_t>(kGemmScratch * seat.threads()));
  seat.each(row_tasks * panel_tasks, [&](int64_t task, int worker) {
    // Neighbours in time share weights, which then come from memory once.
    const int64_t row = task % row_tasks * rows, panel = task / row_tasks * wide;
    kernels.gemm(g, row, std::min(rows, g.m - row), panel, std::min(wide, panels - panel),
                 scratch + worker * kGemmScratch);
  });
}

}  // namespace spar::cpu
