// Portable: 64-bit words; a compiler may widen them to its default vectors. Non-temporal stores do not exist here.
#include "streams.h"

namespace spar::bench {
namespace {

struct Words {
  using Register = uint64_t;
  static Register load(const std::byte* p) {
    Register r;
    std::memcpy(&r, p, sizeof r);
    return r;
  }
  static void store(std::byte* p, Register r) { std::memcpy(p, &r, sizeof r); }
  static void stream(std::byte* p, Register r) { store(p, r); }
  static Register mix(Register a, Register b) { return a ^ b; }
  static uint64_t words(Register r) { return r; }
  static void fence() {}
};

}  // namespace

Streams streams_scalar() { return StreamBody<Words>::all(); }

}  // namespace spar::bench
