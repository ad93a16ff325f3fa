// What the bindings ask about memory and streams. core/memory.cpp answers for the CUDA runtime, the emulation of the tests
// for the memory of the CPU.
#pragma once

#include <cstdint>

#include "engine/cuda.h"

namespace spar::cuda::memory {

inline constexpr int kHost = -1, kUnknown = -2;

// Whether the kernels reach memory of this DLPack device type.
bool reachable(int32_t dlpack_type);

// The device that launches of this thread go to.
int current_device();

// Device whose memory holds `pointer`; kHost for the memory of the CPU, kUnknown where nobody can say.
int device_of(const void* pointer);

// Makes `stream` wait, on the device, for what `producer` holds so far. BackendError where that is refused.
void wait(Stream stream, Stream producer);

}  // namespace spar::cuda::memory
