// Lists the probes of this machine and times them on pinned threads.
#include <sched.h>
#include <sys/mman.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "engine/error.h"
#include "probes.h"

namespace spar::bench {

namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

std::vector<int> allowed_cpus() {
  cpu_set_t set;
  CPU_ZERO(&set);
  std::vector<int> cpus;
  if (sched_getaffinity(0, sizeof set, &set) == 0)
    for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu)
      if (CPU_ISSET(cpu, &set)) cpus.push_back(cpu);
  return cpus;
}

void pin(int cpu) {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(cpu, &set);
  sched_setaffinity(0, sizeof set, &set);  // of this thread only; failing leaves it unpinned, which is only slower
}

// Runs work(index) on `threads` pinned threads; `prepare` before the common start, seconds until the last one ends.
double together(int threads, const std::function<void(int)>& prepare, const std::function<void(int)>& work) {
  const auto cpus = allowed_cpus();
  if (threads < 1 || (!cpus.empty() && threads > static_cast<int>(cpus.size())))
    throw InputError("roof probe: threads=" + std::to_string(threads) + " must be from 1 to " +
                     std::to_string(cpus.size()) + ", the CPUs of this process");
  std::atomic<int> ready{0};
  std::atomic<bool> go{false};
  std::vector<double> ends(threads);
  std::vector<std::thread> crew;
  Clock::time_point start;
  for (int index = 0; index < threads; ++index)
    crew.emplace_back([&, index] {
      if (!cpus.empty()) pin(cpus[index]);
      prepare(index);
      ++ready;
      while (!go) std::this_thread::yield();
      work(index);
      ends[index] = seconds_since(start);
    });
  while (ready < threads) std::this_thread::yield();
  start = Clock::now();
  go = true;
  for (auto& thread : crew) thread.join();
  return *std::max_element(ends.begin(), ends.end());
}

Streams best_streams() {
#if defined(__x86_64__)
  if (available(Isa::avx512)) return streams_avx512();
  if (available(Isa::avx2)) return streams_avx2();
#endif
  return streams_scalar();
}

// Memory that begins on a huge page and asks for huge pages, however small it is: in small pages it would lie in other
// places of a physically indexed cache each time, and one run would be a fifth slower than the next.
class Buffer {
 public:
  explicit Buffer(size_t bytes) : mapped_((bytes + 2 * kHuge - 1) / kHuge * kHuge) {
    base_ = mmap(nullptr, mapped_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (base_ == MAP_FAILED) throw BackendError("roof probe: no memory for a buffer of " + std::to_string(bytes) + " bytes");
    data_ = reinterpret_cast<std::byte*>((reinterpret_cast<uintptr_t>(base_) + kHuge - 1) / kHuge * kHuge);
    madvise(data_, (bytes + kHuge - 1) / kHuge * kHuge, MADV_HUGEPAGE);
    std::fill_n(reinterpret_cast<uint64_t*>(data_), bytes / sizeof(uint64_t), uint64_t{0x0123456789abcdef});
  }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;
  ~Buffer() { munmap(base_, mapped_); }
  std::byte* data() const { return data_; }

 private:
  static constexpr size_t kHuge = size_t{2} << 20;
  size_t mapped_;
  void* base_;
  std::byte* data_;
};

// One buffer for everything that only needs memory to sweep over; it grows and stays.
struct Shared {
  std::mutex one_at_a_time;
  std::unique_ptr<Buffer> buffer;
  size_t bytes = 0;

  static Shared& of(size_t bytes) {
    static Shared shared;
    const std::lock_guard lock(shared.one_at_a_time);
    if (bytes > shared.bytes) {
      shared.buffer = std::make_unique<Buffer>(bytes);
      shared.bytes = bytes;
    }
    return shared;
  }
};

}  // namespace

std::span<const Peak> peaks() {
  static const std::vector<Peak> here = [] {
    std::vector<Peak> found;
#if defined(__x86_64__)
    constexpr double kTile = 2.0 * 16 * 16;
    const Peak all[] = {
        {"scalar", "f32", Isa::scalar, false, 12 * 4 * 2, fma_scalar},
        {"avx2", "f32", Isa::avx2, false, 12 * 8 * 2, fma_avx2},
        {"avx2", "f32", Isa::avx2, true, 12 * 8 * 2, fma_avx2_asm},
        {"avx512", "f32", Isa::avx512, false, 24 * 16 * 2, fma_avx512},
        {"avx512", "f32", Isa::avx512, true, 12 * 16 * 2, fma_avx512_asm},
        {"avx512_vnni", "int8", Isa::avx512_vnni, false, 12 * 64 * 2, dot_avx512_vnni},
        {"avx512_vnni", "int8", Isa::avx512_vnni, true, 12 * 64 * 2, dot_avx512_vnni_asm},
        {"avx512_bf16", "bf16", Isa::avx512_bf16, false, 24 * 32 * 2, dot_avx512_bf16},
        {"avx512_bf16", "bf16", Isa::avx512_bf16, true, 12 * 32 * 2, dot_avx512_bf16_asm},
        {"amx_int8", "int8", Isa::amx_int8, false, 4 * kTile * 64, tiles_amx_int8},
        {"amx_int8", "int8", Isa::amx_int8, true, 6 * kTile * 64, tiles_amx_int8_asm},
        {"amx_bf16", "bf16", Isa::amx_bf16, false, 4 * kTile * 32, tiles_amx_bf16},
        {"amx_bf16", "bf16", Isa::amx_bf16, true, 6 * kTile * 32, tiles_amx_bf16_asm},
    };
#else
    const Peak all[] = {{"scalar", "f32", Isa::scalar, false, 12 * 4 * 2, fma_scalar}};
#endif
    for (const Peak& peak : all)
      if (available(peak.isa)) found.push_back(peak);
    return found;
  }();
  return here;
}

double time_peak(const Peak& peak, int64_t iterations, int threads) {
  if (iterations < 1)
    throw InputError("roof probe: iterations=" + std::to_string(iterations) + " must be at least 1");
  std::atomic<bool> right{true};
  const double seconds = together(
      threads, [&](int) { right = peak.run(1000) && right; }, [&](int) { right = peak.run(iterations) && right; });
  if (!right) throw BackendError(std::string("roof probe ") + peak.name + ": the registers hold a wrong result");
  return seconds;
}

double time_stream(Pass pass, size_t bytes, int64_t repeats, int threads) {
  const size_t share = bytes / std::max(1, threads) / 1024 * 1024;
  if (share == 0 || repeats < 1)
    throw InputError("roof probe: " + std::to_string(bytes) + " bytes, " + std::to_string(repeats) +
                     " repeats; each thread needs at least 1024 bytes and one repeat");
  static const Streams streams = best_streams();
  std::vector<std::unique_ptr<Buffer>> buffers(threads);
  std::atomic<uint64_t> seen{0};
  const auto passes = [&](int index, int64_t count) {
    std::byte* data = buffers[index]->data();
    const CopyFn copy = pass == Pass::copy ? streams.copy : streams.copy_streaming;
    uint64_t mixed = 0;
    for (int64_t done = 0; done < count; ++done)
      if (pass == Pass::read) mixed ^= streams.read(data, share);
      else copy(data + share / 2, data, share / 2);
    seen ^= mixed;
  };
  const double seconds = together(
      threads,
      [&](int index) {
        buffers[index] = std::make_unique<Buffer>(share);
        passes(index, 1);
      },
      [&](int index) { passes(index, repeats); });
  return seconds / static_cast<double>(repeats);
}

double time_chain(int64_t iterations) {
#if defined(__x86_64__)
  const auto start = Clock::now();
  add_chain(iterations);
  return seconds_since(start);
#else
  throw BackendError("roof probe: " + std::to_string(iterations) + " chained additions are written for x86-64 only");
#endif
}

double time_sweep(size_t bytes) {
  Shared& shared = Shared::of(bytes);
  const std::lock_guard lock(shared.one_at_a_time);
  const auto start = Clock::now();
  volatile uint64_t seen = best_streams().read(shared.buffer->data(), bytes / 512 * 512);
  static_cast<void>(seen);
  return seconds_since(start);
}

void evict(size_t bytes) {
  const int threads = std::max<int>(1, static_cast<int>(allowed_cpus().size()));
  const size_t words = (bytes / threads + 4095) / 4096 * 4096 / sizeof(uint64_t);
  Shared& shared = Shared::of(words * sizeof(uint64_t) * threads);
  const std::lock_guard lock(shared.one_at_a_time);
  together(
      threads, [](int) {},
      [&](int index) {
        auto* own = reinterpret_cast<volatile uint64_t*>(shared.buffer->data()) + index * words;
        for (size_t at = 0; at < words; at += 8) own[at] = own[at] + 1;  // one word of every cache line
      });
}

}  // namespace spar::bench
