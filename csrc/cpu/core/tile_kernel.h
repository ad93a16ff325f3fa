// The product on tile registers: 32 rows x one panel of 32 columns, two by two tiles of sums.
//
// A piece of A, 32 rows of at most kTileSteps lanes, stays in the first-level cache while the panels of a group pass
// from the second level; the sums wait in scratch between pieces. Rows that do not lie evenly (a convolution's, the last
// ones) are gathered first. A last step of less than 16 lanes takes zeros on both sides.
#pragma once

#include "core/gemm_kernel.h"
#include "core/tiles.h"

namespace spar::cpu::ENGINE_ISA {

constexpr int64_t kTileBlock = 32;   // rows
constexpr int64_t kTileSteps = 160;  // lanes of k in a piece
constexpr int64_t kTileGroup = 16;   // panels whose sums wait together

// sums [32, 32] (+)= A x W, A at rows `a` .. `a` + 16 and `second` .., for `steps` (a multiple of 16) lanes of k.
template <class T, bool both>
inline void tile_steps(const char* a, const char* second, int64_t a_stride, const char* b, int64_t steps, void* sums,
                       bool first) {
  using namespace tiles;
  constexpr int64_t line = kPanel * 4;
  char* to = static_cast<char*>(sums);
  if (first) {
    SPAR_TILE_ZERO(0);
    SPAR_TILE_ZERO(1);
    SPAR_TILE_ZERO(2);
    SPAR_TILE_ZERO(3);
  } else {
    SPAR_TILE_LOAD(0, to, line);
    SPAR_TILE_LOAD(1, to + kBytes, line);
    if constexpr (both) {
      SPAR_TILE_LOAD(2, to + kRows * line, line);
      SPAR_TILE_LOAD(3, to + kRows * line + kBytes, line);
    }
  }
  for (int64_t s = 0; s < steps; s += 16) {
    SPAR_TILE_LOAD(6, b + s * kRowBytes, kRowBytes);
    SPAR_TILE_LOAD(4, a + s * 4, a_stride);
    SPAR_TILE_LOAD(7, b + s * kRowBytes + kBytes, kRowBytes);
    SPAR_TILE_DOT(T, 0, 4, 6);
    SPAR_TILE_DOT(T, 1, 4, 7);
    if constexpr (both) {
      SPAR_TILE_LOAD(5, second + s * 4, a_stride);
      SPAR_TILE_DOT(T, 2, 5, 6);
      SPAR_TILE_DOT(T, 3, 5, 7);
    }
  }
  SPAR_TILE_STORE(0, to, line);
  SPAR_TILE_STORE(1, to + kBytes, line);
  if constexpr (both) {
    SPAR_TILE_STORE(2, to + kRows * line, line);
    SPAR_TILE_STORE(3, to + kRows * line + kBytes, line);
  }
}

template <class T>
void tile_rows(const Gemm& g, int64_t first_row, int64_t rows, int64_t first_panel, int64_t panels, char* scratch) {
  using Acc = typename Dot<T>::Acc;
  constexpr int64_t lane = 4 / sizeof(T), sum_bytes = kTileBlock * kPanel * 4, gathered_stride = kTileSteps * 4 + 64;
  static_assert(kTileGroup * sum_bytes + kTileBlock * gathered_stride + 16 * kRowBytes <= kGemmScratch);
  const PackedLinear& w = *g.w;
  const Source<T> source(g, first_row, rows);
  const int taps = g.taps ? g.taps->count : 1;
  const int64_t piece = (g.taps ? g.taps->channels : w.k) / lane;
  char* sums = scratch;
  char* gathered = sums + kTileGroup * sum_bytes;
  char* rest = gathered + kTileBlock * gathered_stride;  // the last lanes of a panel, then zeros
  tiles::configure();
  for (int64_t group = first_panel; group < first_panel + panels; group += kTileGroup) {
    const int64_t last_panel = least(group + kTileGroup, first_panel + panels);
    for (int64_t r = 0; r < rows; r += kTileBlock) {
      const int64_t count = least(kTileBlock, rows - r);
      const bool both = count > tiles::kRows;
      for (int tap = 0; tap < taps; ++tap)
        for (int64_t s = 0; s < piece; s += kTileSteps) {
          const int64_t steps = least(kTileSteps, piece - s), even = steps / 16 * 16;
          const bool first = tap == 0 && s == 0, last = tap + 1 == taps && s + steps == piece;
          const char* a = reinterpret_cast<const char*>(g.a.row<T>(first_row + r)) + s * 4;
          int64_t stride = g.a.stride * static_cast<int64_t>(sizeof(T));
          if (g.taps || even != steps || (count != kTileBlock && count != tiles::kRows)) {
            for (int64_t i = 0; i < (both ? kTileBlock : tiles::kRows); ++i) {
              char* to = gathered + i * gathered_stride;
              if (i < count)
                std::memcpy(to, source.at(r + i, tap) + s * 4, static_cast<size_t>(steps) * 4);
              const int64_t used = i < count ? steps * 4 : 0;
              std::memset(to + used, 0, static_cast<size_t>(round_up(steps, 16) * 4 - used));
            }
            a = gathered;
            stride = gathered_stride;
          }
          const char* second = a + tiles::kRows * stride;
          for (int64_t p = group; p < last_panel; ++p) {
            const char* b = w.panel(p) + (tap * piece + s) * kRowBytes;
            char* to = sums + (p - group) * sum_bytes;
            const auto run = [&](const char* from, int64_t at, int64_t n, bool fresh) {
              both ? tile_steps<T, true>(a + at * 4, second + at * 4, stride, from, n, to, fresh)
                   : tile_steps<T, false>(a + at * 4, second + at * 4, stride, from, n, to, fresh);
            };
            if (even) run(b, 0, even, first);
            if (even != steps) {
              std::memcpy(rest, b + even * kRowBytes, static_cast<size_t>((steps - even) * kRowBytes));
              std::memset(rest + (steps - even) * kRowBytes, 0, static_cast<size_t>((16 - steps + even) * kRowBytes));
              run(rest, even, 16, first && even == 0);
            }
            if (last) finish(g, reinterpret_cast<const Acc*>(to), kPanel, first_row + r, count, p * kPanel, kPanel);
          }
        }
    }
  }
  tiles::release();
}

}  // namespace spar::cpu::ENGINE_ISA
