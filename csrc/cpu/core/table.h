// The table of this file's instruction set. Included by kernels_<isa>.cpp, which sets ENGINE_ISA.
#include "core/attention_kernel.h"
#include "core/depthwise_kernel.h"
#include "core/gemm_kernel.h"
#include "core/kernels.h"
#include "core/linear_attention_kernel.h"
#include "core/rows_kernel.h"

namespace spar::cpu::ENGINE_ISA {

extern const Kernels table;
const Kernels table = {Isa::ENGINE_ISA, gemm, norm_rows, quantize_rows, attention, linear_attention, depthwise};

}  // namespace spar::cpu::ENGINE_ISA
