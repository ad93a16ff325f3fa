// Large aligned memory: an arena that one call bumps through and the next call reuses.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

#include "core/types.h"

namespace spar::cpu {

// Address space, in huge pages where the system grants them; pages become memory at their first touch.
class Reserve {
 public:
  explicit Reserve(size_t bytes);
  ~Reserve();
  Reserve(const Reserve&) = delete;
  Reserve& operator=(const Reserve&) = delete;
  char* data() const { return data_; }
  size_t size() const { return size_; }

 private:
  char* data_;
  size_t size_;
};

// Bytes from one row of a matrix to the next: whole cache lines, and not a multiple of 1 KiB, or rows would share one set of
// the first-level cache.
SPAR_INLINE constexpr int64_t row_bytes(Type type, int64_t columns) {
  const int64_t bytes = round_up(columns * size_of(type), 64);
  return bytes % 1024 == 0 ? bytes + 64 : bytes;
}

// Hands out memory in order; everything goes back at once. Not for use by two threads.
class Arena {
 public:
  Arena();
  char* take_bytes(size_t bytes);  // 64-byte aligned, not cleared; std::bad_alloc when the reserve is used up
  template <class T>
  T* take(int64_t count) {
    return reinterpret_cast<T*>(take_bytes(static_cast<size_t>(count) * sizeof(T)));
  }
  // Rows `row_bytes` apart.
  View matrix(Type type, int64_t rows, int64_t columns);
  size_t mark() const { return used_; }
  void release(size_t mark) { used_ = mark; }
  size_t peak() const { return peak_; }

 private:
  Reserve reserve_;
  size_t used_ = 0, peak_ = 0;
};

// Gives back what was taken from an arena since it was made.
class Frame {
 public:
  explicit Frame(Arena& arena) : arena_(arena), mark_(arena.mark()) {}
  ~Frame() { arena_.release(mark_); }
  Frame(const Frame&) = delete;
  Frame& operator=(const Frame&) = delete;

 private:
  Arena& arena_;
  size_t mark_;
};

// Arenas that are not in use, for the next call.
class Arenas {
 public:
  class Lease {
   public:
    explicit Lease(Arenas& arenas);
    ~Lease();
    Lease(const Lease&) = delete;
    Lease& operator=(const Lease&) = delete;
    Arena& operator*() const { return *arena_; }

   private:
    Arenas& arenas_;
    std::unique_ptr<Arena> arena_;
  };

  size_t peak() const;  // of all that are not in use
  void trim();          // frees those

 private:
  mutable std::mutex lock_;
  std::vector<std::unique_ptr<Arena>> free_;
};

}  // namespace spar::cpu
