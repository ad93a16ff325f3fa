// Arrays of real numbers whose element type is known at run time.
#pragma once

#include <cstdint>

namespace spar {

enum class Dtype : uint8_t { f32, bf16 };  // bf16: the upper half of a float32

inline int64_t size_of(Dtype dtype) { return dtype == Dtype::bf16 ? 2 : 4; }

struct Reals {
  const void* data = nullptr;
  Dtype dtype = Dtype::f32;
};

}  // namespace spar
