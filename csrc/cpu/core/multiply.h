// Which product this file's instruction set uses for a type: vectors, or tiles where SPAR_TILES is set.
#pragma once

#include "core/gemm_kernel.h"
#include "core/group_kernel.h"
#if defined(SPAR_TILES)
#include "core/tile_kernel.h"
#endif

namespace spar::cpu::ENGINE_ISA {

template <class T>
inline void multiply(const Gemm& g, int64_t first_row, int64_t rows, int64_t first_panel, int64_t panels, char* scratch) {
#if defined(SPAR_TILES)
  if constexpr (sizeof(T) < 4) return tile_rows<T>(g, first_row, rows, first_panel, panels, scratch);
#endif
  gemm_rows<T>(g, first_row, rows, first_panel, panels, scratch);
}

inline void gemm(const Gemm& g, int64_t first_row, int64_t rows, int64_t first_panel, int64_t panels, char* scratch) {
  if (g.w->type == Type::f32) return multiply<float>(g, first_row, rows, first_panel, panels, scratch);
  if (g.w->type == Type::bf16) return multiply<bf16>(g, first_row, rows, first_panel, panels, scratch);
  if (g.w->type == Type::s4) return group_rows(g, first_row, rows, first_panel, panels, scratch);
  multiply<uint8_t>(g, first_row, rows, first_panel, panels, scratch);
}

}  // namespace spar::cpu::ENGINE_ISA
