// Packing of weights into the panels of gemm.h, from rows of any stored type.
#pragma once

#include <functional>

#include "core/gemm.h"
#include "core/pool.h"

namespace spar::cpu {

// Bytes of the packed panels of an [n, k] matrix; k as in packed_k.
int64_t packed_bytes(Type type, int64_t n, int64_t k);

// k padded to whole lanes.
SPAR_INLINE int64_t packed_k(Type type, int64_t k) { return round_up(k, per_lane(type)); }

// Fills `row` with the k float values of output column n.
using WeightRow = std::function<void(int64_t n, float* row)>;

// Writes the panels; for s8 also scale [n] and sums [n].
//
// s4: the eighth level below zero goes to the side of the group that needs it, by the sign of the scale, which is rounded
// up to bf16. No value is clipped, so |w - q * scale| <= |scale| / 2. A group with a value that is not finite is NaN.
//
// Rows are asked for in any order, by several threads.
void pack_panels(Pool::Seat& seat, Type type, int64_t n, int64_t k, const WeightRow& row, char* panels, float* scale,
                 int32_t* sums);

}  // namespace spar::cpu
