#include <cuda_runtime_api.h>

#include <map>
#include <mutex>
#include <string>
#include <tuple>

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

cudaLaunchConfig_t configured(const char* op, const void* kernel, dim3 grid, dim3 block, size_t shared, void* stream) {
  if (shared > 48 * 1024) {  // more than that has to be asked for
    const cudaError_t error =
        cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(shared));
    if (error != cudaSuccess) refuse_launch(error, op, shared);
  }
  cudaLaunchConfig_t config{};
  config.gridDim = grid, config.blockDim = block, config.dynamicSmemBytes = shared;
  config.stream = static_cast<cudaStream_t>(stream);
  return config;
}

bool runs_clusters(const void* kernel, const cudaLaunchConfig_t& config) {
  using Key = std::tuple<int, const void*, unsigned>;  // device, kernel, blocks: the shared memory follows from the kernel
  static std::mutex lock;
  static std::map<Key, bool> known;
  int device = 0;
  if (cudaGetDevice(&device) != cudaSuccess) return false;  // launching says what is wrong
  const std::lock_guard guard(lock);
  const auto [found, fresh] = known.try_emplace({device, kernel, config.gridDim.x}, false);
  if (fresh) {
    int has = 0, clusters = 0;
    cudaFuncAttributes code{};  // on a GPU later than all targets it is made from PTX for sm_80, which has no clusters
    found->second = cudaDeviceGetAttribute(&has, cudaDevAttrClusterLaunch, device) == cudaSuccess && has != 0 &&
                    cudaFuncGetAttributes(&code, kernel) == cudaSuccess && code.ptxVersion >= 90 &&
                    cudaOccupancyMaxActiveClusters(&clusters, kernel, &config) == cudaSuccess && clusters > 0;
    cudaGetLastError();  // a refusal is an answer, not an error of the next call
  }
  return found->second;
}

}  // namespace spar::cuda
