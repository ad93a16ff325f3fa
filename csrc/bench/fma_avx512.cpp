// 24 fused multiply-adds of 16 lanes a round.
#include <immintrin.h>

#include "probes.h"

namespace spar::bench {

bool fma_avx512(int64_t iterations) {
  constexpr int kAccumulators = 24;
  __m512 sum_f32x16[kAccumulators] = {};
  for (auto& sum : sum_f32x16) __asm__ volatile("" : "+v"(sum));  // else all are one to the compiler
  volatile float half = 0.5f, one = 1.0f;
  const __m512 half_f32x16 = _mm512_set1_ps(half), one_f32x16 = _mm512_set1_ps(one);
  for (int64_t i = 0; i < iterations; ++i)
#pragma GCC unroll 24
    for (auto& sum : sum_f32x16) sum = _mm512_fmadd_ps(sum, half_f32x16, one_f32x16);
  for (const auto& sum : sum_f32x16)  // x = x / 2 + 1 settles at 2
    if (iterations > 64 && _mm512_cmp_ps_mask(sum, _mm512_set1_ps(2.0f), _CMP_EQ_OQ) != 0xffff) return false;
  return true;
}

}  // namespace spar::bench
