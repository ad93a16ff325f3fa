#include "core/pool.h"

#include <algorithm>
#include <string>
#include <system_error>

#include "engine/error.h"

#if defined(__linux__)
#include <pthread.h>
#include <sched.h>
#endif
#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace spar::cpu {
namespace {

void relax() {
#if defined(__x86_64__)
  _mm_pause();
#endif
}

// Waits until `value` differs from `old`: a short spin that lets others run, then sleep.
void wait_for_change(const std::atomic<uint32_t>& value, uint32_t old) {
  for (int i = 0; i < 200; ++i) {
    if (value.load(std::memory_order_acquire) != old) return;
    relax();
  }
  for (int i = 0; i < 20; ++i) {
    if (value.load(std::memory_order_acquire) != old) return;
    std::this_thread::yield();
  }
  value.wait(old, std::memory_order_acquire);
}

void bind_to_processor(std::thread& thread, int index) {
#if defined(__linux__)
  cpu_set_t allowed, one;
  CPU_ZERO(&allowed);
  if (sched_getaffinity(0, sizeof allowed, &allowed) != 0 || CPU_COUNT(&allowed) == 0) return;
  index %= CPU_COUNT(&allowed);
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (!CPU_ISSET(cpu, &allowed) || index-- != 0) continue;
    CPU_ZERO(&one);
    CPU_SET(cpu, &one);
    pthread_setaffinity_np(thread.native_handle(), sizeof one, &one);
    return;
  }
#else
  (void)thread, (void)index;
#endif
}

void end(std::atomic<bool>& stop, std::atomic<uint32_t>& epoch, std::vector<std::thread>& workers) {
  stop.store(true);
  epoch.fetch_add(1);
  epoch.notify_all();
  for (auto& worker : workers) worker.join();
}

}  // namespace

Pool::Pool(int threads, bool pin) : threads_(threads), most_(threads) {
  if (threads < 1 || threads > 1024)
    throw InputError("threads=" + std::to_string(threads) + " must be from 1 to 1024");
  jobs_ = std::make_unique<Job[]>(static_cast<size_t>(threads));
  const auto started = [&](int worker) {
    try {
      workers_.emplace_back([this, worker] { work(worker); });
      return true;
    } catch (const std::system_error&) {
      return false;
    }
  };
  for (int worker = 1; worker < threads; ++worker) {
    if (!started(worker)) {
      end(stop_, epoch_, workers_);
      throw BackendError("threads=" + std::to_string(threads) + ": the system started only " + std::to_string(worker) +
                         "; use fewer");
    }
    if (pin) bind_to_processor(workers_.back(), worker);
  }
}

Pool::~Pool() { end(stop_, epoch_, workers_); }

// Processors that the caller or any worker may use, counted up to threads(). They change: taskset, cpusets of control
// groups. One system call where the caller's are enough.
int Pool::processors() {
#if defined(__linux__)
  cpu_set_t found, more;
  if (threads_ == 1 || sched_getaffinity(0, sizeof found, &found) != 0) return threads_;
  for (auto& worker : workers_) {
    if (CPU_COUNT(&found) >= threads_) break;
    if (pthread_getaffinity_np(worker.native_handle(), sizeof more, &more) != 0) return threads_;
    CPU_OR(&found, &found, &more);
  }
  return std::clamp(CPU_COUNT(&found), 1, threads_);
#else
  return threads_;
#endif
}

Pool::Seat::Seat(Pool& pool) : pool_(pool), job_(-1), most_(pool.processors()) {
  pool.most_.store(most_, std::memory_order_relaxed);
  std::unique_lock lock(pool.seats_);
  const auto find = [&] {
    for (int job = 0; job < pool.threads_; ++job)
      if (!pool.jobs_[job].taken) return job_ = job, true;
    return false;
  };
  pool.freed_.wait(lock, find);
  pool.jobs_[job_].taken = true;
  pool.callers_.fetch_add(1);
  pool.running_.fetch_add(1);
}

Pool::Seat::~Seat() {
  pool_.running_.fetch_sub(1);
  pool_.callers_.fetch_sub(1);
  {
    std::lock_guard lock(pool_.seats_);
    pool_.jobs_[job_].taken = false;
  }
  pool_.freed_.notify_one();
}

void Pool::run(int index, int64_t count, int most, Call call, const void* context) {
  // With as many callers as threads a worker that is woken would find no seat, over and over.
  if (most == 1 || count == 1 || callers_.load(std::memory_order_relaxed) >= most) {
    for (int64_t i = 0; i < count; ++i) call(context, i, 0);
    return;
  }
  Job& job = jobs_[index];
  job.count = count;
  job.call = call;
  job.context = context;
  job.next.store(0, std::memory_order_relaxed);
  job.state.store(kOpen, std::memory_order_release);
  epoch_.fetch_add(1, std::memory_order_seq_cst);
  if (sleepers_.load(std::memory_order_seq_cst) > 0) {
    if (most == threads_)
      epoch_.notify_all();
    else
      for (int i = 1; i < most; ++i) epoch_.notify_one();
  }
  for (int64_t i; (i = job.next.fetch_add(1, std::memory_order_relaxed)) < count;) call(context, i, 0);
  uint32_t state = job.state.fetch_and(~kOpen, std::memory_order_acq_rel) & ~kOpen;
  while (state != 0) {
    wait_for_change(job.state, state);
    state = job.state.load(std::memory_order_acquire);
  }
}

// Joins one open job, if a seat is free. Whether it did any work.
bool Pool::help(int worker) {
  bool helped = false;
  for (int index = 0; index < threads_; ++index) {
    Job& job = jobs_[index];
    uint32_t state = job.state.load(std::memory_order_relaxed);
    if (!(state & kOpen)) continue;
    const int most = most_.load(std::memory_order_relaxed);
    if (running_.fetch_add(1) >= most) {
      running_.fetch_sub(1);
      return helped;
    }
    bool inside = false;
    while ((state & kOpen) && !(inside = job.state.compare_exchange_weak(state, state + 1, std::memory_order_acq_rel)))
      ;
    if (inside) {
      while (running_.load(std::memory_order_relaxed) <= most) {
        const int64_t i = job.next.fetch_add(1, std::memory_order_relaxed);
        if (i >= job.count) break;
        job.call(job.context, i, worker);
        helped = true;
      }
      if (job.state.fetch_sub(1, std::memory_order_acq_rel) == 1) job.state.notify_all();
    }
    running_.fetch_sub(1);
  }
  return helped;
}

void Pool::work(int worker) {
  uint32_t seen = epoch_.load(std::memory_order_acquire);
  while (!stop_.load(std::memory_order_relaxed)) {
    if (help(worker)) continue;
    for (int i = 0; i < 200 && epoch_.load(std::memory_order_acquire) == seen; ++i) relax();
    for (int i = 0; i < 20 && epoch_.load(std::memory_order_acquire) == seen; ++i) std::this_thread::yield();
    sleepers_.fetch_add(1, std::memory_order_seq_cst);
    epoch_.wait(seen, std::memory_order_seq_cst);
    sleepers_.fetch_sub(1, std::memory_order_seq_cst);
    seen = epoch_.load(std::memory_order_acquire);
  }
}

}  // namespace spar::cpu
