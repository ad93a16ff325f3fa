// One body for all vector widths; each stream file gives its loads and stores and is compiled for its own set.
#pragma once

#include <cstring>

#include "probes.h"

namespace spar::bench {

// V: Register, load(p), store(p, r), stream(p, r), mix(a, b), words(r) -> xor of its 64-bit words, fence().
// 512 bytes a turn in 512 / sizeof(Register) independent registers.
template <typename V>
struct StreamBody {
  using R = typename V::Register;
  static constexpr int kLanes = 512 / sizeof(R);

  static uint64_t read(const std::byte* from, size_t bytes) {
    R mixed[kLanes] = {};
    for (size_t at = 0; at < bytes; at += 512)
#pragma GCC unroll 32
      for (int lane = 0; lane < kLanes; ++lane) mixed[lane] = V::mix(mixed[lane], V::load(from + at + lane * sizeof(R)));
    uint64_t all = 0;
    for (const R& lane : mixed) all ^= V::words(lane);
    return all;
  }

  static void copy(std::byte* to, const std::byte* from, size_t bytes) {
    for (size_t at = 0; at < bytes; at += 512) {
      R held[kLanes];
#pragma GCC unroll 32
      for (int lane = 0; lane < kLanes; ++lane) held[lane] = V::load(from + at + lane * sizeof(R));
#pragma GCC unroll 32
      for (int lane = 0; lane < kLanes; ++lane) V::store(to + at + lane * sizeof(R), held[lane]);
    }
  }

  static void copy_streaming(std::byte* to, const std::byte* from, size_t bytes) {
    for (size_t at = 0; at < bytes; at += 512) {
      R held[kLanes];
#pragma GCC unroll 32
      for (int lane = 0; lane < kLanes; ++lane) held[lane] = V::load(from + at + lane * sizeof(R));
#pragma GCC unroll 32
      for (int lane = 0; lane < kLanes; ++lane) V::stream(to + at + lane * sizeof(R), held[lane]);
    }
    V::fence();
  }

  static Streams all() { return {read, copy, copy_streaming}; }
};

}  // namespace spar::bench
