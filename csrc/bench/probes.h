// Roof probes: the fastest this machine computes and moves bytes, measured with registers or one buffer only.
//
// A Peak runs `iterations` rounds of independent multiply-adds held in registers; `operations` are those of one round
// (a multiply-add counts as two). It returns whether the registers hold what the arithmetic says, so a loop that the
// compiler shortened cannot report a roof. A Stream passes over a buffer of one thread.
// `independent` marks a second implementation of the same roof (hand-written assembly), used only to cross-check.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "engine/isa.h"

namespace spar::bench {

struct Peak {
  const char* name;
  const char* dtype;
  Isa isa;
  bool independent;
  double operations;
  bool (*run)(int64_t iterations);
};

using ReadFn = uint64_t (*)(const std::byte* from, size_t bytes);             // xor of all 64-bit words
using CopyFn = void (*)(std::byte* to, const std::byte* from, size_t bytes);  // bytes: a multiple of 512

struct Streams {
  ReadFn read;
  CopyFn copy;
  CopyFn copy_streaming;  // non-temporal stores
};

bool fma_avx2(int64_t iterations);
bool fma_avx512(int64_t iterations);
bool dot_avx512_vnni(int64_t iterations);
bool dot_avx512_bf16(int64_t iterations);
bool tiles_amx_int8(int64_t iterations);
bool tiles_amx_bf16(int64_t iterations);
bool fma_scalar(int64_t iterations);

bool fma_avx2_asm(int64_t iterations);
bool fma_avx512_asm(int64_t iterations);
bool dot_avx512_vnni_asm(int64_t iterations);
bool dot_avx512_bf16_asm(int64_t iterations);
bool tiles_amx_int8_asm(int64_t iterations);
bool tiles_amx_bf16_asm(int64_t iterations);

Streams streams_scalar();
Streams streams_avx2();
Streams streams_avx512();

// Every peak whose instruction set this machine runs.
std::span<const Peak> peaks();

// Seconds that `threads` pinned threads need, from a common start to the last end. Throws BackendError when the
// registers come out wrong, InputError for a count below 1.
double time_peak(const Peak& peak, int64_t iterations, int threads);

enum class Pass { read, copy, copy_streaming };

// Seconds of each of `repeats` passes over `bytes` in all, split evenly over pinned threads, each with its own huge-page
// buffer that it touched first. A copy reads bytes / 2 and writes bytes / 2.
double time_stream(Pass pass, size_t bytes, int64_t repeats, int threads);

// Eight dependent additions an iteration, one a cycle on every x86-64 core.
void add_chain(int64_t iterations);

// Seconds of that chain on the calling thread.
double time_chain(int64_t iterations);

// Seconds of one read of `bytes` by the calling thread, from a buffer that is kept for the next call.
double time_sweep(size_t bytes);

// Drives everything else out of the caches: all cores together read and write `bytes`, which are kept for the next call.
void evict(size_t bytes);

}  // namespace spar::bench
