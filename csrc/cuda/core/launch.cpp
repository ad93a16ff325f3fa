#include <cuda_runtime_api.h>

#include <string>

#include "engine/error.h"

namespace spar::cuda {

void refuse_launch(cudaError_t error, const char* op, size_t shared) {
  cudaGetLastError();  // or the next call would report it again
  std::string remedy;
  if (error == cudaErrorInsufficientDriver || error == cudaErrorNoDevice)
    remedy = "; it needs an NVIDIA GPU (sm_80 or later) with a driver for CUDA " +
             std::to_string(CUDART_VERSION / 1000) + "; elsewhere load with backend=\"native\"";
  else if (error == cudaErrorInvalidValue)
    remedy = "; the block asks for " + std::to_string(shared) + " bytes of shared memory, maybe more than this GPU has";
  else if (error == cudaErrorNoKernelImageForDevice)
    remedy = "; this GPU is older than sm_80, the first with bf16 tensor cores; load with backend=\"native\"";
  throw BackendError(std::string(op) + ": " + cudaGetErrorString(error) + remedy);
}

}  // namespace spar::cuda
