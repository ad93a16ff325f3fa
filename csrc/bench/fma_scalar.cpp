// The compiler's default target (SSE2 on x86-64): four lanes, no fused multiply-add; what a machine without AVX2 reaches.
#include "probes.h"

namespace spar::bench {

bool fma_scalar(int64_t iterations) {
  constexpr int kAccumulators = 12;
  using Vector = float __attribute__((vector_size(16)));
  Vector sum[kAccumulators] = {};
  for (auto& s : sum) __asm__ volatile("" : "+m"(s));  // else all are one to the compiler
  Vector half = {0.5f, 0.5f, 0.5f, 0.5f}, one = {1, 1, 1, 1};
  __asm__ volatile("" : "+m"(half), "+m"(one));  // unknown to the compiler
  for (int64_t i = 0; i < iterations; ++i)
    for (auto& s : sum) s = s * half + one;
  for (const auto& s : sum)
    for (int lane = 0; lane < 4; ++lane)
      if (iterations > 64 && s[lane] != 2.0f) return false;
  return true;
}

}  // namespace spar::bench
