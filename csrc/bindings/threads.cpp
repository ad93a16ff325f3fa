#include "threads.h"

#include <map>
#include <mutex>
#include <string>

namespace spar::bindings {

cpu::Pool& shared_pool(const Dims& dims, int64_t threads) {
  if (threads < 1 || threads > 1024) dims.fail("threads=" + std::to_string(threads) + "; it must be from 1 to 1024");
  static std::mutex lock;
  // Never destroyed: a process that ends, or a fork of this one, has no workers left to wait for.
  static auto& pools = *new std::map<int64_t, cpu::Pool>;
  const std::lock_guard guard(lock);
  return pools.try_emplace(threads, static_cast<int>(threads)).first->second;
}

}  // namespace spar::bindings
