// The table of this file's instruction set. Included by kernels_<isa>.cpp, which sets ENGINE_ISA, and SPAR_TILES for AMX.
#include "core/attention_kernel.h"
#include "core/depthwise_kernel.h"
#include "core/kernels.h"
#include "core/linear_attention_kernel.h"
#include "core/multiply.h"
#include "core/rows_kernel.h"

namespace spar::cpu::ENGINE_ISA {

extern const Kernels table;
#if defined(SPAR_EMULATED_TILES)
constexpr Isa kIsa = Isa::amx_bf16;
#else
constexpr Isa kIsa = Isa::ENGINE_ISA;
#endif
const Kernels table = {kIsa, gemm, norm_rows, quantize_rows, mix_rows, attention, linear_attention, depthwise};

}  // namespace spar::cpu::ENGINE_ISA
