// 32-byte loads and stores.
#include <immintrin.h>

#include "streams.h"

namespace spar::bench {
namespace {

struct Vector {
  using Register = __m256i;
  static Register load(const std::byte* p) { return _mm256_load_si256(reinterpret_cast<const Register*>(p)); }
  static void store(std::byte* p, Register r) { _mm256_store_si256(reinterpret_cast<Register*>(p), r); }
  static void stream(std::byte* p, Register r) { _mm256_stream_si256(reinterpret_cast<Register*>(p), r); }
  static Register mix(Register a, Register b) { return _mm256_xor_si256(a, b); }
  static uint64_t words(Register r) {
    uint64_t held[4], all = 0;
    std::memcpy(held, &r, sizeof held);
    for (const uint64_t word : held) all ^= word;
    return all;
  }
  static void fence() { _mm_sfence(); }
};

}  // namespace

Streams streams_avx2() { return StreamBody<Vector>::all(); }

}  // namespace spar::bench
