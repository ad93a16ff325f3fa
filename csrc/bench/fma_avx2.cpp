// 12 fused multiply-adds of 8 lanes a round: enough to hide 4 cycles of latency on two or three units.
#include <immintrin.h>

#include "probes.h"

namespace spar::bench {

bool fma_avx2(int64_t iterations) {
  constexpr int kAccumulators = 12;
  __m256 sum_f32x8[kAccumulators] = {};
  for (auto& sum : sum_f32x8) __asm__ volatile("" : "+x"(sum));  // else all are one to the compiler
  volatile float half = 0.5f, one = 1.0f;
  const __m256 half_f32x8 = _mm256_set1_ps(half), one_f32x8 = _mm256_set1_ps(one);
  for (int64_t i = 0; i < iterations; ++i)
#pragma GCC unroll 12
    for (auto& sum : sum_f32x8) sum = _mm256_fmadd_ps(sum, half_f32x8, one_f32x8);
  for (const auto& sum : sum_f32x8)  // x = x / 2 + 1 settles at 2
    if (iterations > 64 && _mm256_movemask_ps(_mm256_cmp_ps(sum, _mm256_set1_ps(2.0f), _CMP_EQ_OQ)) != 0xff)
      return false;
  return true;
}

}  // namespace spar::bench
