// The same roofs in hand-written assembly: other unrolling, other operands, no compiler between. They exist to disagree.
#include <algorithm>
#include <cstring>

#include "probes.h"
#include "tiles.h"

namespace spar::bench {

#if defined(__x86_64__)

// Twelve accumulators, registers 4 to 15; register 0 holds a 32-bit pattern in every lane and is both operands.
// `op` is the instruction, `r` the register file (ymm or zmm), `zero` clears one register.
#define SPAR_LOOP(op, r, zero)                                                            \
  __asm__ volatile(                                                                       \
      "vpbroadcastd %[pattern], %%" r "0\n"                                               \
      ".irp n,4,5,6,7,8,9,10,11,12,13,14,15\n " zero " %%" r "\\n, %%" r "\\n, %%" r "\\n\n .endr\n" \
      ".p2align 5\n"                                                                      \
      "1:\n"                                                                              \
      ".irp n,4,5,6,7,8,9,10,11,12,13,14,15\n " op " %%" r "0, %%" r "0, %%" r "\\n\n .endr\n" \
      "dec %[rounds]\n"                                                                   \
      "jnz 1b\n"                                                                          \
      ".set at, 0\n"                                                                      \
      ".irp n,4,5,6,7,8,9,10,11,12,13,14,15\n vmovups %%" r "\\n, at(%[sums])\n .set at, at + 64\n .endr\n" \
      "vzeroupper\n"                                                                      \
      : [rounds] "+r"(rounds)                                                             \
      : [pattern] "m"(pattern), [sums] "r"(sums)                                          \
      : "cc", "memory", "xmm0", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", \
        "xmm14", "xmm15")

namespace {

constexpr int64_t kExact = 1 << 20;  // rounds whose sums are exact in float

template <typename Word, typename Loop>
bool all_equal(int64_t iterations, int lanes, Word each, Loop loop) {
  alignas(64) unsigned char sums[12 * 64];
  bool right = true;
  for (int64_t done = 0; done < iterations; done += kExact) {
    const int64_t rounds = std::min(kExact, iterations - done);
    loop(rounds, sums);
    for (int accumulator = 0; accumulator < 12; ++accumulator)
      for (int lane = 0; lane < lanes; ++lane) {
        Word got;
        std::memcpy(&got, sums + 64 * accumulator + sizeof(Word) * lane, sizeof(Word));
        right &= got == each * static_cast<Word>(rounds);
      }
  }
  return right;
}

constexpr uint32_t kOneF32 = 0x3f800000, kPairBf16 = 0x3f803f80, kOnesI8 = 0x01010101;

}  // namespace

bool fma_avx2_asm(int64_t iterations) {
  return all_equal<float>(iterations, 8, 1.0f, [](int64_t rounds, unsigned char* sums) {
    const uint32_t pattern = kOneF32;
    SPAR_LOOP("vfmadd231ps", "ymm", "vpxor");
  });
}

bool fma_avx512_asm(int64_t iterations) {
  return all_equal<float>(iterations, 16, 1.0f, [](int64_t rounds, unsigned char* sums) {
    const uint32_t pattern = kOneF32;
    SPAR_LOOP("vfmadd231ps", "zmm", "vpxorq");
  });
}

bool dot_avx512_bf16_asm(int64_t iterations) {
  return all_equal<float>(iterations, 16, 2.0f, [](int64_t rounds, unsigned char* sums) {
    const uint32_t pattern = kPairBf16;
    SPAR_LOOP("vdpbf16ps", "zmm", "vpxorq");
  });
}

bool dot_avx512_vnni_asm(int64_t iterations) {
  return all_equal<int32_t>(iterations, 16, 4, [](int64_t rounds, unsigned char* sums) {
    const uint32_t pattern = kOnesI8;
    SPAR_LOOP("vpdpbusd", "zmm", "vpxorq");
  });
}

// Six accumulators fed by one tile each of A and B: no operand reuse to hide behind, and more products in flight.
#define SPAR_TILE_LOOP(op)                                                    \
  __asm__ volatile(                                                           \
      "ldtilecfg %[config]\n"                                                 \
      "tileloadd (%[ones],%[stride]), %%tmm6\n"                               \
      "tileloadd (%[ones],%[stride]), %%tmm7\n"                               \
      ".irp n,0,1,2,3,4,5\n tilezero %%tmm\\n\n .endr\n"                      \
      ".p2align 5\n"                                                          \
      "1:\n"                                                                  \
      ".irp n,0,1,2,3,4,5\n " op " %%tmm7, %%tmm6, %%tmm\\n\n .endr\n"        \
      "dec %[rounds]\n"                                                       \
      "jnz 1b\n"                                                              \
      "mov %[sums], %%rax\n"                                                  \
      ".irp n,0,1,2,3,4,5\n tilestored %%tmm\\n, (%%rax,%[stride])\n add $1024, %%rax\n .endr\n" \
      "tilerelease\n"                                                         \
      : [rounds] "+r"(rounds)                                                 \
      : [config] "m"(config), [ones] "r"(ones), [stride] "r"(stride), [sums] "r"(sums) \
      : "cc", "memory", "rax")

bool tiles_amx_bf16_asm(int64_t iterations) {
  constexpr int64_t kRounds = 1 << 18, stride = 64;
  const TileConfig config;
  alignas(64) uint16_t ones[512];
  alignas(64) float sums[6 * 256];
  std::fill_n(ones, 512, uint16_t{0x3f80});
  bool right = true;
  for (int64_t done = 0; done < iterations; done += kRounds) {
    int64_t rounds = std::min(kRounds, iterations - done);
    const float want = 32.0f * static_cast<float>(rounds);
    SPAR_TILE_LOOP("tdpbf16ps");
    for (const float sum : sums) right &= sum == want;
  }
  return right;
}

bool tiles_amx_int8_asm(int64_t iterations) {
  constexpr int64_t stride = 64;
  const TileConfig config;
  alignas(64) int8_t ones[1024];
  alignas(64) uint32_t sums[6 * 256];
  std::fill_n(ones, 1024, int8_t{1});
  int64_t rounds = iterations;
  SPAR_TILE_LOOP("tdpbssd");
  bool right = true;
  for (const uint32_t sum : sums) right &= sum == static_cast<uint32_t>(64 * iterations);
  return right;
}

void add_chain(int64_t iterations) {
  uint64_t sum = 0;
  __asm__ volatile(
      ".p2align 5\n"
      "1:\n"
      ".rept 8\n lea 1(%[sum]), %[sum]\n .endr\n"  // one cycle each, and each needs the one before
      "dec %[rounds]\n"
      "jnz 1b\n"
      : [sum] "+r"(sum), [rounds] "+r"(iterations)
      :
      : "cc");
}

#endif

}  // namespace spar::bench
