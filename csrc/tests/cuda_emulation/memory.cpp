// Memory and streams of the emulation: all memory of the CPU stands for that of GPU 0, and a stream that waits is noted.
#include "bindings/memory.h"

#include <cstddef>

#include "bindings/dlpack.h"

namespace spar::cuda::memory {
namespace {

int current = 0;
const void* on_host = nullptr;
size_t waits = 0;
Stream waiting = nullptr, awaited = nullptr;

}  // namespace

bool reachable(int32_t dlpack_type) {
  return dlpack_type == dlpack::kCpu || dlpack_type == dlpack::kCuda || dlpack_type == dlpack::kCudaManaged;
}

int current_device() { return current; }

int device_of(const void* pointer) { return pointer == on_host ? kHost : 0; }

void wait(Stream stream, Stream producer) {
  ++waits;
  waiting = stream, awaited = producer;
}

}  // namespace spar::cuda::memory

extern "C" {

// The device that launches go to; arrays lie on GPU 0.
[[gnu::visibility("default")]] void emulation_set_device(int device) { spar::cuda::memory::current = device; }

// An address that the driver would not know.
[[gnu::visibility("default")]] void emulation_set_host_pointer(const void* pointer) { spar::cuda::memory::on_host = pointer; }

// How often a stream was made to wait, which one was last, and for which.
[[gnu::visibility("default")]] size_t emulation_waits() { return spar::cuda::memory::waits; }
[[gnu::visibility("default")]] void* emulation_waiting() { return spar::cuda::memory::waiting; }
[[gnu::visibility("default")]] void* emulation_awaited() { return spar::cuda::memory::awaited; }
}
