// Packing of weights for bindings that call kernels one by one.
#pragma once

#include "core/memory.h"
#include "core/pack.h"

namespace spar::bindings {

// A layer of n columns in `arena`, without a bias; `row` gives the k values of a column.
cpu::PackedLinear packed(cpu::Arena& arena, cpu::Pool::Seat& seat, cpu::Type type, int64_t n, int64_t k,
                         const cpu::WeightRow& row);

// The row of a convolution's weight [n, channels, taps] as the product wants it: the channels of one tap after another.
cpu::WeightRow by_taps(const float* weight, int64_t channels, int64_t taps);

}  // namespace spar::bindings
