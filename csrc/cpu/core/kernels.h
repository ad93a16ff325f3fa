// The kernels of one instruction set, as a table; the model code above is compiled once and calls through it.
#pragma once

#include <span>
#include <string_view>

#include "core/attention.h"
#include "core/gemm.h"
#include "core/rows.h"
#include "engine/isa.h"

namespace spar::cpu {

struct Kernels {
  Isa isa;
  GemmTask* gemm;
  NormRows* norm;
  QuantizeRows* quantize;
  MixRows* mix;
  AttentionTask* attention;
  LinearAttentionTask* linear_attention;
  DepthwiseLine* depthwise;
};

// Tables this machine can run, best first; the scalar one is always last.
std::span<const Kernels* const> kernel_tables();

// The table called `isa`, or the best one when `isa` is empty. BackendError names the choices. "emulated_amx" is the AMX
// table over tiles in memory, for tests.
const Kernels& kernels(std::string_view isa = {});

}  // namespace spar::cpu
