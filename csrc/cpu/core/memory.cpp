#include "core/memory.h"

#include <sys/mman.h>

#include <new>

namespace spar::cpu {
namespace {

constexpr size_t kHugePage = size_t{1} << 21;
constexpr size_t kLargest = size_t{1} << 38, kLeast = size_t{1} << 30;

}  // namespace

Reserve::Reserve(size_t bytes) : data_(nullptr), size_((bytes + kHugePage - 1) / kHugePage * kHugePage) {
  const size_t whole = size_ + kHugePage;
  void* found = mmap(nullptr, whole, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (found == MAP_FAILED) throw std::bad_alloc();
  char* start = static_cast<char*>(found);
  const size_t skip = (kHugePage - reinterpret_cast<uintptr_t>(start) % kHugePage) % kHugePage;
  if (skip) munmap(start, skip);
  if (skip != kHugePage) munmap(start + skip + size_, kHugePage - skip);
  data_ = start + skip;
#if defined(MADV_HUGEPAGE)
  madvise(data_, size_, MADV_HUGEPAGE);  // advice; refused where huge pages are off
#endif
}

Reserve::~Reserve() { munmap(data_, size_); }

namespace {

// Address space is free, but some systems limit it (ulimit -v): take what is to be had.
size_t obtainable() {
  for (size_t bytes = kLargest; bytes > kLeast; bytes /= 2) {
    void* found = mmap(nullptr, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (found == MAP_FAILED) continue;
    munmap(found, bytes);
    return bytes / 2;
  }
  return kLeast;
}

}  // namespace

Arena::Arena() : reserve_(obtainable()) {}

char* Arena::take_bytes(size_t bytes) {
  const size_t size = (bytes + 63) / 64 * 64;
  if (size > reserve_.size() - used_) throw std::bad_alloc();
  char* taken = reserve_.data() + used_;
  used_ += size;
  if (used_ > peak_) peak_ = used_;
  return taken;
}

View Arena::matrix(Type type, int64_t rows, int64_t columns) {
  const int64_t bytes = row_bytes(type, columns);
  return {take_bytes(static_cast<size_t>(rows * bytes)), type, bytes / size_of(type)};
}

Arenas::Lease::Lease(Arenas& arenas) : arenas_(arenas) {
  {
    std::lock_guard lock(arenas.lock_);
    if (!arenas.free_.empty()) {
      arena_ = std::move(arenas.free_.back());
      arenas.free_.pop_back();
    }
  }
  if (!arena_) arena_ = std::make_unique<Arena>();
}

Arenas::Lease::~Lease() {
  arena_->release(0);
  std::lock_guard lock(arenas_.lock_);
  arenas_.free_.push_back(std::move(arena_));
}

size_t Arenas::peak() const {
  std::lock_guard lock(lock_);
  size_t total = 0;
  for (const auto& arena : free_) total += arena->peak();
  return total;
}

void Arenas::trim() {
  std::vector<std::unique_ptr<Arena>> idle;
  std::lock_guard lock(lock_);
  idle.swap(free_);
}

}  // namespace spar::cpu
