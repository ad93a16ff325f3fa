#include "core/pool.h"

#include <atomic>
#include <chrono>
#include <thread>

#include "testing.h"

#if defined(__linux__)
#include <sched.h>
#endif

using namespace spar::cpu;
using namespace spar::testing;

namespace {

const Registration pool("the pool runs every index once, under several callers", [] {
  Pool pool(3);
  at_once(4, [&](int) {
    for (int round = 0; round < 50; ++round) {
      Pool::Seat seat(pool);
      std::vector<std::atomic<int>> seen(97);
      seat.each(97, [&](int64_t i, int worker) {
        expect(worker >= 0 && worker < 3, "a worker has no number of its own");
        seen[static_cast<size_t>(i)].fetch_add(1);
      });
      for (const auto& count : seen) expect(count.load() == 1, "an index ran twice or not at all");
    }
  });
});

#if defined(__linux__)
const Registration alone("with one processor the caller works alone; with more it has help", [] {
  cpu_set_t before, one;
  expect(sched_getaffinity(0, sizeof before, &before) == 0, "the processors of this thread are not told");
  CPU_ZERO(&one);
  for (int cpu = 0; cpu < CPU_SETSIZE && CPU_COUNT(&one) == 0; ++cpu)
    if (CPU_ISSET(cpu, &before)) CPU_SET(cpu, &one);
  sched_setaffinity(0, sizeof one, &one);
  Pool crowded(3);  // its workers inherit the one processor
  sched_setaffinity(0, sizeof before, &before);
  std::atomic<int> helped{0};
  const auto seen = [&](Pool& pool) {
    Pool::Seat seat(pool);
    seat.each(50, [&](int64_t, int worker) {
      helped.fetch_add(worker != 0);
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    });
    return helped.exchange(0);
  };
  at_once(1, [&](int) {
    sched_setaffinity(0, sizeof one, &one);
    expect(seen(crowded) == 0, "a worker without a processor of its own was woken");
  });
  if (CPU_COUNT(&before) == 1) return;
  Pool wide(2);
  at_once(2, [&](int) { Pool::Seat(wide).each(20, [](int64_t, int) {}); });  // takes all seats, and frees them
  expect(seen(wide) > 0, "nobody helped where there are processors");
  expect(seen(crowded) > 0, "the caller has another processor than the workers, but they did not help");
});
#endif

}  // namespace
