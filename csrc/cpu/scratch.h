// Working memory of a kernel call, kept by the thread: fresh pages cost more than the arithmetic on them.
#pragma once

#include <cstddef>

namespace spar {

// At least `floats` float32, aligned to 64 bytes, uninitialised; the thread's next call may move or overwrite them.
float* thread_scratch(std::size_t floats);

}  // namespace spar
