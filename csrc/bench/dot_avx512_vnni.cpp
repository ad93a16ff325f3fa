// 12 dot products of 4 unsigned by 4 signed bytes into 16 lanes of int32 a round.
#include <immintrin.h>

#include "probes.h"

namespace spar::bench {

bool dot_avx512_vnni(int64_t iterations) {
  volatile char one = 1;
  const __m512i one_i8x64 = _mm512_set1_epi8(one);
  // Named, not an array, and the instruction itself: gcc 12 copies every accumulator around _mm512_dpbusd_epi32 and
  // spills an array, which gives 391 instead of 980 GOP/s.
  __m512i a{}, b{}, c{}, d{}, e{}, f{}, g{}, h{}, i{}, j{}, k{}, l{};
  const auto each = [&](auto&&... sum_i32x16) {
    (([&] { __asm__ volatile("vpdpbusd %1, %1, %0" : "+v"(sum_i32x16) : "v"(one_i8x64)); }()), ...);
  };
  for (int64_t round = 0; round < iterations; ++round) each(a, b, c, d, e, f, g, h, i, j, k, l);
  const __m512i want_i32x16 = _mm512_set1_epi32(static_cast<int>(4 * iterations));  // wraps as the sums do
  for (const __m512i& sum : {a, b, c, d, e, f, g, h, i, j, k, l})
    if (_mm512_cmpeq_epi32_mask(sum, want_i32x16) != 0xffff) return false;
  return true;
}

}  // namespace spar::bench
