// From a Dtype known at run time to a type known to the compiler.
#pragma once

#include "core/types.h"
#include "engine/real.h"

namespace spar {

// Calls work(T{}) with T = float or cpu::bf16.
template <class Work>
SPAR_INLINE void with_type(Dtype dtype, const Work& work) {
  if (dtype == Dtype::bf16)
    work(cpu::bf16{});
  else
    work(float{});
}

}  // namespace spar
