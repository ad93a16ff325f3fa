#include "native_pack.h"

namespace spar::bindings {

using namespace cpu;

PackedLinear packed(Arena& arena, Pool::Seat& seat, Type type, int64_t n, int64_t k, const WeightRow& row) {
  PackedLinear made;
  made.type = type;
  made.n = n;
  made.k = packed_k(type, k);
  made.padding = made.k - k;
  char* panels = arena.take_bytes(static_cast<size_t>(packed_bytes(type, n, k)));
  float* scale = arena.take<float>(n);
  int32_t* sums = arena.take<int32_t>(n);
  pack_panels(seat, type, n, k, row, panels, scale, sums);
  made.data = panels;
  made.scale = scale;
  made.sums = sums;
  return made;
}

WeightRow by_taps(const float* weight, int64_t channels, int64_t taps) {
  return [=](int64_t n, float* to) {
    for (int64_t c = 0; c < channels; ++c)
      for (int64_t t = 0; t < taps; ++t) to[t * channels + c] = weight[(n * channels + c) * taps + t];
  };
}

}  // namespace spar::bindings
