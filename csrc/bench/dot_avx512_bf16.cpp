// 24 dot products of 2 bf16 pairs into 16 lanes of float a round. The operands are (1, -0.5): every round adds 1.25,
// and a pass starts from 0 often enough for the sums to stay exact.
#include <immintrin.h>

#include <algorithm>

#include "probes.h"

namespace spar::bench {

bool dot_avx512_bf16(int64_t iterations) {
  constexpr int kAccumulators = 24;
  constexpr int64_t kExact = 1 << 20;
  volatile int bits = static_cast<int>(0xbf003f80u);  // bf16 1.0 below, -0.5 above
  const auto pair_bf16x32 = reinterpret_cast<__m512bh>(_mm512_set1_epi32(bits));
  bool right = true;
  for (int64_t done = 0; done < iterations; done += kExact) {
    const int64_t rounds = std::min(kExact, iterations - done);
    __m512 sum_f32x16[kAccumulators] = {};
    for (auto& sum : sum_f32x16) __asm__ volatile("" : "+v"(sum));  // else all are one to the compiler
    for (int64_t i = 0; i < rounds; ++i)
#pragma GCC unroll 24
      for (auto& sum : sum_f32x16) sum = _mm512_dpbf16_ps(sum, pair_bf16x32, pair_bf16x32);
    const __m512 want_f32x16 = _mm512_set1_ps(1.25f * static_cast<float>(rounds));
    for (const auto& sum : sum_f32x16) right &= _mm512_cmp_ps_mask(sum, want_f32x16, _CMP_EQ_OQ) == 0xffff;
  }
  return right;
}

}  // namespace spar::bench
