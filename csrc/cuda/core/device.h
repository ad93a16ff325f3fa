// What kernels are written in. With nvcc: CUDA, and the few PTX instructions that have no C++ name. With a host compiler
// and SPAR_CUDA_EMULATION: the same names over csrc/tests/cuda_emulation. No other file knows which of the two it is.
#pragma once

#include <cstddef>
#include <cstdint>

#ifdef SPAR_CUDA_EMULATION

#include "cuda_emulation/device.h"

#else

#include <cuda_bf16.h>
#include <cuda_runtime.h>

#include "core/e4m3_bits.h"

namespace spar::cuda {

using Stream = void*;

// The block's dynamic shared memory, 128-byte aligned.
template <class T>
__device__ __forceinline__ T* shared_memory() {
  extern __shared__ __align__(128) unsigned char dynamic_shared[];
  return reinterpret_cast<T*>(dynamic_shared);
}

__device__ __forceinline__ uint32_t shared_address(const void* pointer) {
  return static_cast<uint32_t>(__cvta_generic_to_shared(pointer));
}

// Sixteen bytes from global to shared memory, later; zeros where `valid` is false. Both addresses are multiples of 16.
__device__ __forceinline__ void copy_async(void* shared, const void* global, bool valid) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(shared)), "l"(global),
               "r"(valid ? 16 : 0)
               : "memory");
}

// Closes the group of this thread's copies so far.
__device__ __forceinline__ void copy_commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }

// Waits until at most `pending` groups of this thread are still on their way.
template <int pending>
__device__ __forceinline__ void copy_wait() {
  asm volatile("cp.async.wait_group %0;" ::"n"(pending) : "memory");
}

// Four 8x8 matrices of 16-bit elements from shared memory. Lane 8 i + r gives the address of row r of matrix i; register
// i of lane l gets elements 2 (l % 4) and the next one of its row l / 4.
__device__ __forceinline__ void load_matrices(uint32_t (&to)[4], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
               : "r"(shared_address(row))
               : "memory");
}

// The same, every matrix transposed.
__device__ __forceinline__ void load_matrices_transposed(uint32_t (&to)[4], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
               : "r"(shared_address(row))
               : "memory");
}

// sums[16, 8] += a[16, 16] b[16, 8]: bf16 products, float32 sums. See tiles.h for who holds what.
__device__ __forceinline__ void multiply_add(float (&sums)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  asm(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
      "{%0, %1, %2, %3};"
      : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

// Two float32 as bf16, nearest even; `low` comes first in memory.
__device__ __forceinline__ uint32_t narrow(float low, float high) {
  uint32_t pair;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
  return pair;
}

// Two float32 as e4m3, nearest even and at most 448; `low` comes first in memory.
__device__ __forceinline__ uint32_t narrow_e4m3(float low, float high) {
#if __CUDA_ARCH__ >= 890
  uint16_t pair;
  asm("cvt.rn.satfinite.e4m3x2.f32 %0, %1, %2;" : "=h"(pair) : "f"(high), "f"(low));
  return pair;
#else
  return e4m3_bits(low) | e4m3_bits(high) << 8;
#endif
}

// max(x, 0) of two bf16; NaN stays NaN.
__device__ __forceinline__ uint32_t relu(uint32_t pair) {
  uint32_t result;
  asm("max.NaN.bf16x2 %0, %1, %2;" : "=r"(result) : "r"(pair), "r"(0u));
  return result;
}

// Clusters, from sm_90 on: blocks that run at once and see one another's shared memory. `launch_clusters` starts them.
// A barrier in two halves: a thread that waited sees what all threads of the cluster wrote before they arrived.
__device__ __forceinline__ void cluster_arrive() {
#if __CUDA_ARCH__ >= 900
  __cluster_barrier_arrive();
#else
  __trap();
#endif
}
__device__ __forceinline__ void cluster_wait() {
#if __CUDA_ARCH__ >= 900
  __cluster_barrier_wait();
#else
  __trap();
#endif
}

// Where block `rank` of the cluster has what this block has at `shared`. Blocks of a cluster end only when nobody reads them.
template <class T>
__device__ __forceinline__ const T* in_block(const T* shared, unsigned rank) {
#if __CUDA_ARCH__ >= 900
  return static_cast<const T*>(__cluster_map_shared_rank(shared, rank));
#else
  __trap();
  return shared;
#endif
}

void refuse_launch(cudaError_t error, const char* op, size_t shared);
// How to launch `kernel`, which may then use so much shared memory; BackendError where the GPU has less.
cudaLaunchConfig_t configured(const char* op, const void* kernel, dim3 grid, dim3 block, size_t shared, Stream stream);
// Whether this GPU holds at least one cluster as `config` asks for it.
bool runs_clusters(const void* kernel, const cudaLaunchConfig_t& config);

// Runs `kernel` on `stream`; BackendError where the launch is refused.
template <class... Parameters, class... Arguments>
void launch(const char* op, void (*kernel)(Parameters...), dim3 grid, dim3 block, size_t shared, Stream stream,
            Arguments... arguments) {
  const cudaLaunchConfig_t config = configured(op, reinterpret_cast<const void*>(kernel), grid, block, shared, stream);
  const cudaError_t error = cudaLaunchKernelEx(&config, kernel, Parameters(arguments)...);
  if (error != cudaSuccess) refuse_launch(error, op, shared);
}

// The same with the blocks of a row of the grid as clusters. Returns false, and runs nothing, where the GPU has no
// clusters or cannot hold one of this size.
template <class... Parameters, class... Arguments>
bool launch_clusters(const char* op, void (*kernel)(Parameters...), dim3 grid, dim3 block, size_t shared, Stream stream,
                     Arguments... arguments) {
  cudaLaunchConfig_t config = configured(op, reinterpret_cast<const void*>(kernel), grid, block, shared, stream);
  cudaLaunchAttribute cluster;
  cluster.id = cudaLaunchAttributeClusterDimension;
  cluster.val.clusterDim = {grid.x, 1, 1};
  config.attrs = &cluster, config.numAttrs = 1;
  if (!runs_clusters(reinterpret_cast<const void*>(kernel), config)) return false;
  const cudaError_t error = cudaLaunchKernelEx(&config, kernel, Parameters(arguments)...);
  if (error != cudaSuccess) refuse_launch(error, op, shared);
  return true;
}

}  // namespace spar::cuda

#endif
