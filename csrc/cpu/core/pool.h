// Worker threads for loops whose iterations are independent.
//
// Work is handed out one index at a time from a counter, so a thread that the system takes away costs one index, not a
// share. Results do not depend on the number of threads: an index is computed wholly by one thread, and the split into
// indices is the caller's, made from shapes alone. At most `threads()` threads run at any time, callers included: a
// caller without a seat waits, and workers help only while a seat is free. Idle threads spin for some microseconds,
// offering their processor to others, then sleep.
//
// Threads beyond the processors they may use would only take turns: whoever takes a seat counts the processors that the
// system lets this pool use now, and no more threads than those work. With one, nobody is woken and nothing is shared;
// so it is while callers take all seats, each working alone.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

namespace spar::cpu {

class Pool {
 public:
  // threads   in all, the caller's included; at least 1
  // pin       bind worker i to the i-th processor this process may use
  explicit Pool(int threads, bool pin = false);
  ~Pool();
  Pool(const Pool&) = delete;
  Pool& operator=(const Pool&) = delete;

  int threads() const { return threads_; }

  // A caller's right to run loops; held during one call of a component. Blocks while all seats are taken.
  class Seat {
   public:
    explicit Seat(Pool& pool);
    ~Seat();
    Seat(const Seat&) = delete;
    Seat& operator=(const Seat&) = delete;

    // Calls body(index, worker) once for every index below `count`; `worker` is below pool.threads() and not shared by
    // two threads at a time. Returns when all are done. Bodies must not throw nor loop on the pool themselves.
    template <class Body>
    void each(int64_t count, const Body& body) {
      if (count <= 0) return;
      pool_.run(job_, count, most_, [](const void* context, int64_t index, int worker) {
        (*static_cast<const Body*>(context))(index, worker);
      }, &body);
    }
    int threads() const { return pool_.threads_; }

   private:
    Pool& pool_;
    int job_;
    int most_;  // threads that have a processor, the caller's included
  };

 private:
  using Call = void (*)(const void* context, int64_t index, int worker);
  struct alignas(64) Job {
    std::atomic<uint32_t> state{0};  // kOpen | helpers inside
    std::atomic<int64_t> next{0};
    int64_t count = 0;
    Call call = nullptr;
    const void* context = nullptr;
    bool taken = false;  // by a seat; guarded by seats_
  };
  static constexpr uint32_t kOpen = 1u << 31;

  int processors();
  void run(int job, int64_t count, int most, Call call, const void* context);
  void work(int worker);
  bool help(int worker);

  const int threads_;
  std::unique_ptr<Job[]> jobs_;  // one for every seat
  std::atomic<int> callers_{0};  // seats that are taken
  std::atomic<int> running_{0};  // callers and helping workers
  std::atomic<int> most_;        // of these, as the last caller counted processors
  alignas(64) std::atomic<uint32_t> epoch_{0};
  std::atomic<int> sleepers_{0};
  std::atomic<bool> stop_{false};
  std::mutex seats_;
  std::condition_variable freed_;
  std::vector<std::thread> workers_;
};

}  // namespace spar::cpu
