#include "scratch.h"

#include <cstdlib>
#include <memory>
#include <new>

namespace spar {
namespace {

struct Free {
  void operator()(float* memory) const { std::free(memory); }
};

struct Kept {
  std::unique_ptr<float, Free> memory;
  std::size_t floats = 0;
};

thread_local Kept kept;

}  // namespace

float* thread_scratch(std::size_t floats) {
  if (floats > kept.floats) {
    const std::size_t rounded = (floats + 15) / 16 * 16;
    kept = {};
    kept.memory.reset(static_cast<float*>(std::aligned_alloc(64, rounded * sizeof(float))));
    if (kept.memory == nullptr) throw std::bad_alloc();
    kept.floats = rounded;
  }
  return kept.memory.get();
}

}  // namespace spar
