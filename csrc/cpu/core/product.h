// A whole product, split into tasks for the pool.
#pragma once

#include "core/kernels.h"
#include "core/memory.h"
#include "core/pool.h"

namespace spar::cpu {

// Runs every task of `g`; scratch comes from `arena` and goes back.
void product(const Kernels& kernels, Pool::Seat& seat, Arena& arena, const Gemm& g);

}  // namespace spar::cpu
