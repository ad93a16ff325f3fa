#include "bindings/memory.h"

#include <cuda_runtime_api.h>

#include <string>

#include "bindings/dlpack.h"
#include "engine/error.h"

namespace spar::cuda::memory {

bool reachable(int32_t dlpack_type) { return dlpack_type == dlpack::kCuda || dlpack_type == dlpack::kCudaManaged; }

int current_device() {
  int device = 0;
  if (cudaGetDevice(&device) != cudaSuccess) cudaGetLastError();  // without a driver the launch says so
  return device;
}

int device_of(const void* pointer) {
  cudaPointerAttributes found{};
  if (cudaPointerGetAttributes(&found, pointer) != cudaSuccess) {
    cudaGetLastError();  // or the launch would report it
    return kUnknown;
  }
  if (found.type == cudaMemoryTypeManaged) return kUnknown;  // on any
  return found.type == cudaMemoryTypeDevice ? found.device : kHost;
}

void wait(Stream stream, Stream producer) {
  cudaEvent_t done = nullptr;
  cudaError_t error = cudaEventCreateWithFlags(&done, cudaEventDisableTiming);
  if (error == cudaSuccess) error = cudaEventRecord(done, static_cast<cudaStream_t>(producer));
  if (error == cudaSuccess) error = cudaStreamWaitEvent(static_cast<cudaStream_t>(stream), done, 0);
  if (done != nullptr) cudaEventDestroy(done);  // the wait keeps what it needs
  if (error == cudaSuccess) return;
  cudaGetLastError();
  throw BackendError(std::string("cuda: a stream cannot wait for the stream of an array's producer: ") +
                     cudaGetErrorString(error));
}

}  // namespace spar::cuda::memory
