#include "cuda_emulation/machine.h"

#include <setjmp.h>
#include <sys/mman.h>
#include <ucontext.h>

#include <algorithm>
#include <cstring>
#include <deque>
#include <memory>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#include "engine/error.h"

dim3 gridDim, blockDim, blockIdx, threadIdx;

namespace spar::emulation {
namespace {

constexpr size_t kStack = 256 * 1024, kLanes = 32;

enum class State { ready, at_warp_barrier, at_block_barrier, at_cluster_wait, done };

struct Copy {
  void* to;
  const void* from;
  bool valid;
};

void perform(const Copy& copy) {
  if (copy.valid)
    std::memcpy(copy.to, copy.from, 16);
  else
    std::memset(copy.to, 0, 16);
}

struct Fiber {
  ucontext_t start;  // only the first entry needs it; afterwards _longjmp, which makes no system call
  jmp_buf here;
  bool entered = false;
  State state = State::done;
  const char* file = "";
  int line = 0;
  unsigned exchanges = 0, arrivals = 0, waits = 0;  // the latter two at cluster barriers
  dim3 index, block;
  std::deque<std::vector<Copy>> closed;
  std::vector<Copy> open;
};

struct Warp {
  alignas(16) unsigned char slots[2][kLanes * kSlot];
};

std::vector<std::unique_ptr<Fiber>> fibers;
std::vector<Warp> warps;
std::vector<std::vector<unsigned char>> shared;  // of every block of a cluster
const std::function<void()>* body = nullptr;
size_t current = 0, count = 0, warps_a_block = 0, shared_limit = 0, launches = 0;  // count: threads of a block
unsigned order_seed = 0, cluster_limit = 8;
std::mt19937 copy_chance;
jmp_buf scheduler;

size_t rank() { return current / count; }  // of the running thread's block

// The first multiple of 128 in a block's shared memory, which has room for that.
unsigned char* shared_of(size_t block) {
  const auto start = reinterpret_cast<uintptr_t>(shared[block].data());
  return shared[block].data() + (128 - start % 128) % 128;
}

// NaN in bf16 and float32: what nobody wrote, or what is gone.
void spoil(size_t block) { std::fill(shared[block].begin(), shared[block].end(), 0xff); }

[[noreturn]] void live() {
  for (;;) {
    (*body)();
    Fiber& self = *fibers[current];
    self.state = State::done, self.line = 0;
    if (_setjmp(self.here) == 0) _longjmp(scheduler, 1);
  }
}

void resume(size_t index) {
  Fiber& fiber = *fibers[index];
  current = index;
  threadIdx = fiber.index, blockIdx = fiber.block;
  if (_setjmp(scheduler) != 0) return;
  if (fiber.entered) _longjmp(fiber.here, 1);
  fiber.entered = true;
  setcontext(&fiber.start);
}

void wait(State state, const char* file, int line) {
  Fiber& self = *fibers[current];
  self.state = state, self.file = file, self.line = line;
  if (_setjmp(self.here) == 0) _longjmp(scheduler, 1);
}

void need_fibers(size_t wanted) {
  while (fibers.size() < wanted) {
    auto fiber = std::make_unique<Fiber>();
    void* stack = mmap(nullptr, kStack, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (stack == MAP_FAILED) throw BackendError("emulation: no memory for another stack");
    getcontext(&fiber->start);
    fiber->start.uc_stack.ss_sp = stack, fiber->start.uc_stack.ss_size = kStack;
    makecontext(&fiber->start, reinterpret_cast<void (*)()>(&live), 0);
    fibers.push_back(std::move(fiber));
  }
}

std::vector<size_t> order_of(size_t size, std::mt19937& random) {
  std::vector<size_t> order(size);
  std::iota(order.begin(), order.end(), 0);
  if (order_seed == 1) std::reverse(order.begin(), order.end());
  if (order_seed > 1) std::shuffle(order.begin(), order.end(), random);
  return order;
}

std::string where(const Fiber& fiber, size_t index) {
  const std::string name = "thread " + std::to_string(index);
  if (fiber.state == State::done) return name + " has ended";
  const char* kind = fiber.state == State::at_warp_barrier    ? " waits for its warp at "
                     : fiber.state == State::at_block_barrier ? " waits for its block at "
                                                              : " waits for its cluster at ";
  const char* slash = std::strrchr(fiber.file, '/');
  return name + kind + (slash ? slash + 1 : fiber.file) + ":" + std::to_string(fiber.line);
}

[[noreturn]] void diverged(const char* op, size_t first, size_t last) {
  const Fiber& one = *fibers[first];
  size_t other = first;
  while (other < last && fibers[other]->state == one.state && fibers[other]->line == one.line) ++other;
  for (size_t i = 0; i < fibers.size(); ++i) fibers[i]->state = State::done;
  fibers.clear();  // their stacks stay in the middle of the kernel
  throw BackendError(std::string(op) + ": divergent barrier: " + where(one, first) + ", " +
                     (other < last ? where(*fibers[other], other) : std::string("nobody else comes")));
}

// Whether all of [first, last) wait in `state` at one line.
bool together(size_t first, size_t last, State state) {
  for (size_t i = first; i < last; ++i)
    if (fibers[i]->state != state || fibers[i]->line != fibers[first]->line) return false;
  return true;
}

void release(size_t first, size_t last) {
  for (size_t i = first; i < last; ++i) fibers[i]->state = State::ready;
}

// Runs the lanes of a warp until none can go on without other warps.
void run_warp(const char* op, size_t first, size_t last, const std::vector<size_t>& lanes) {
  for (;;) {
    for (const size_t lane : lanes)
      if (first + lane < last && fibers[first + lane]->state == State::ready) resume(first + lane);
    if (!together(first, last, State::at_warp_barrier)) break;
    release(first, last);
  }
  for (size_t i = first; i < last; ++i)
    if (fibers[i]->state == State::at_warp_barrier) diverged(op, first, last);
}

// Runs a block until it is done or cannot go on without other blocks.
void run_block(const char* op, size_t first, const std::vector<size_t>& order, const std::vector<size_t>& lanes) {
  const size_t last = first + count;
  for (;;) {
    for (const size_t warp : order)
      run_warp(op, first + warp * kLanes, std::min(last, first + (warp + 1) * kLanes), lanes);
    if (together(first, last, State::done)) return spoil(first / count);
    if (together(first, last, State::at_cluster_wait)) return;
    if (!together(first, last, State::at_block_barrier)) diverged(op, first, last);
    release(first, last);
  }
}

void run_cluster(const char* op, size_t first_block, unsigned blocks, std::mt19937& random) {
  const size_t threads = blocks * count;
  for (unsigned b = 0; b < blocks; ++b) spoil(b);
  for (size_t i = 0; i < threads; ++i) {
    Fiber& fiber = *fibers[i];
    const auto place = [](size_t index, dim3 size) {
      const unsigned x = static_cast<unsigned>(index);
      return dim3(x % size.x, x / size.x % size.y, x / size.x / size.y);
    };
    fiber.index = place(i % count, blockDim), fiber.block = place(first_block + i / count, gridDim);
    fiber.state = State::ready, fiber.open.clear(), fiber.closed.clear(), fiber.exchanges = fiber.arrivals = fiber.waits = 0;
  }
  const auto order = order_of(warps_a_block, random), lanes = order_of(kLanes, random), turns = order_of(blocks, random);
  for (;;) {
    for (const size_t block : turns)
      if (!together(block * count, (block + 1) * count, State::done)) run_block(op, block * count, order, lanes);
    if (together(0, threads, State::done)) return;
    const auto in_step = [&](const auto& fiber) {
      return fiber->arrivals == fiber->waits && fiber->waits == fibers[0]->waits;
    };
    if (!together(0, threads, State::at_cluster_wait) || !std::all_of(&fibers[0], &fibers[0] + threads, in_step))
      diverged(op, 0, threads);
    release(0, threads);
  }
}

}  // namespace

void run(const char* op, dim3 grid, dim3 block, size_t shared_bytes, const std::function<void()>& thread, unsigned cluster) {
  count = static_cast<size_t>(block.x) * block.y * block.z;
  const size_t blocks = static_cast<size_t>(grid.x) * grid.y * grid.z;
  if (count == 0 || count > 1024 || blocks == 0 || grid.y > 65535 || grid.z > 65535)
    throw InputError(std::string(op) + ": no GPU runs a grid of " + std::to_string(grid.x) + " x " +
                     std::to_string(grid.y) + " x " + std::to_string(grid.z) + " blocks of " + std::to_string(count));
  if (shared_limit && shared_bytes > shared_limit)
    throw BackendError(std::string(op) + ": a block asks for " + std::to_string(shared_bytes) +
                       " bytes of shared memory, this GPU has " + std::to_string(shared_limit));
  ++launches;
  if (cluster == 0 || grid.x % cluster != 0)
    throw InputError(std::string(op) + ": no GPU cuts " + std::to_string(grid.x) + " blocks into clusters of " +
                     std::to_string(cluster));
  need_fibers(count * cluster);
  warps_a_block = (count + kLanes - 1) / kLanes;
  warps.resize(warps_a_block * cluster);
  shared.resize(cluster);
  for (auto& mine : shared) mine.resize(shared_bytes + 128);
  gridDim = grid, blockDim = block, body = &thread;
  std::mt19937 random(order_seed);
  for (size_t i = 0; i < blocks; i += cluster) run_cluster(op, i, cluster, random);
}

unsigned most_in_cluster() { return cluster_limit; }

void* shared_memory() { return shared_of(rank()); }

const void* in_block(const void* mine, unsigned other) {
  return shared_of(other) + (static_cast<const unsigned char*>(mine) - shared_of(rank()));
}

void cluster_arrive() { ++fibers[current]->arrivals; }
void cluster_barrier(const char* file, int line) {
  ++fibers[current]->waits;
  wait(State::at_cluster_wait, file, line);
}

void block_barrier(const char* file, int line) { wait(State::at_block_barrier, file, line); }
void warp_barrier(const char* file, int line) { wait(State::at_warp_barrier, file, line); }

int lane() { return static_cast<int>(current % count % kLanes); }

// Two sets of slots in turn: a lane that writes the second set has seen all others leave the one before the first.
const unsigned char* exchange(const void* bring, size_t size, const char* file, int line) {
  Warp& warp = warps[rank() * warps_a_block + current % count / kLanes];
  unsigned char* slots = warp.slots[fibers[current]->exchanges++ % 2];
  std::memcpy(slots + static_cast<size_t>(lane()) * kSlot, bring, size);
  warp_barrier(file, line);
  return slots;
}

void copy_later(void* to, const void* from, bool valid) {
  const Copy copy{to, from, valid};
  if (order_seed == 1 || (order_seed > 1 && copy_chance() % 2 != 0))
    perform(copy);
  else
    fibers[current]->open.push_back(copy);
}

void close_copies() {
  Fiber& self = *fibers[current];
  self.closed.push_back(std::move(self.open));
  self.open.clear();
}

void finish_copies(size_t pending) {
  auto& closed = fibers[current]->closed;
  for (; closed.size() > pending; closed.pop_front())
    for (const Copy& copy : closed.front()) perform(copy);
}

}  // namespace spar::emulation

extern "C" {

void emulation_set_order(unsigned seed) { spar::emulation::order_seed = seed; }
void emulation_set_shared_limit(size_t bytes) { spar::emulation::shared_limit = bytes; }
void emulation_set_clusters(unsigned blocks) { spar::emulation::cluster_limit = blocks; }
size_t emulation_launches() { return spar::emulation::launches; }
}
