// A CUDA block on one CPU thread: every CUDA thread is a fiber that runs until it has to wait for others.
//
// Blocks run one after the other, those of a cluster together. A fiber runs ahead as far as it can, so that a value read before its barrier is not there
// yet: shared memory starts every block as NaN and ends as NaN, and a copy made by copy_async may arrive only with the wait
// for it.
// Threads that wait at different lines for one another, or for threads that are gone, are an error that names the lines.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>

struct dim3 {
  unsigned x = 1, y = 1, z = 1;
  constexpr dim3() = default;
  constexpr dim3(unsigned x_, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_) {}
};

extern dim3 gridDim, blockDim, blockIdx, threadIdx;

namespace spar::emulation {

// Runs `thread` in every thread of every block. Throws BackendError on a divergent barrier, InputError on a launch that no
// GPU accepts. Every `cluster` blocks that follow each other in x are a cluster.
void run(const char* op, dim3 grid, dim3 block, size_t shared, const std::function<void()>& thread, unsigned cluster = 1);

// Blocks of the largest cluster of the GPU that is meant; 1: it has none.
unsigned most_in_cluster();

void* shared_memory();

void block_barrier(const char* file, int line);
void warp_barrier(const char* file, int line);
void cluster_arrive();
void cluster_barrier(const char* file, int line);

// Where block `rank` of the running cluster has what this block has at `shared`.
const void* in_block(const void* shared, unsigned rank);

// Lets every lane of the warp see what the others bring: `size` bytes each. Returns the slots of the warp, kSlot bytes
// apart, which stay as they are until the lane's second next exchange.
inline constexpr size_t kSlot = 32;
const unsigned char* exchange(const void* bring, size_t size, const char* file, int line);

// cp.async of the running thread.
void copy_later(void* to, const void* from, bool valid);
void close_copies();
void finish_copies(size_t pending);

int lane();

}  // namespace spar::emulation

extern "C" {

// Order in which warps, and lanes of a warp, run, and when copies made by copy_async arrive: 0 as numbered and as late as
// possible, 1 backwards and at once, others shuffled with that seed and some at once.
[[gnu::visibility("default")]] void emulation_set_order(unsigned seed);

// Shared memory that a block may ask for, in bytes, as on the GPU that is meant; 0: any.
[[gnu::visibility("default")]] void emulation_set_shared_limit(size_t bytes);

// Blocks that a cluster may have, as on the GPU that is meant; 1: it has no clusters.
[[gnu::visibility("default")]] void emulation_set_clusters(unsigned blocks);

// Launches since the process began.
[[gnu::visibility("default")]] size_t emulation_launches();

}
