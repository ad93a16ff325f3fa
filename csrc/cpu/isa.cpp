#include "engine/isa.h"

#include <array>
#include <cstdlib>
#include <string>

#include "engine/error.h"

#if defined(__x86_64__)
#include <cpuid.h>
#if defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif
#endif

namespace spar {
namespace {

constexpr std::array<std::string_view, 7> kNames = {"scalar",      "avx2",     "avx512",  "avx512_vnni",
                                                    "avx512_bf16", "amx_int8", "amx_bf16"};
constexpr int kLevels = static_cast<int>(kNames.size());

using Levels = std::array<bool, kLevels>;

#if defined(__x86_64__)

struct Registers {
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
};

Registers cpuid(unsigned leaf, unsigned subleaf) {
  Registers r;
  if (!__get_cpuid_count(leaf, subleaf, &r.eax, &r.ebx, &r.ecx, &r.edx)) return {};
  return r;
}

// Register files that the operating system saves at a context switch (XCR0).
uint64_t saved_state() {
  unsigned low, high;
  __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return (static_cast<uint64_t>(high) << 32) | low;
}

// Linux gives a process the 8 KiB of tile state only when it asks.
bool tiles_granted() {
#if defined(__linux__)
  constexpr long kRequestPermission = 0x1023, kTileData = 18;
  return syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
#else
  return false;
#endif
}

bool has(unsigned word, std::initializer_list<int> bits) {
  for (const int bit : bits)
    if (!(word >> bit & 1)) return false;
  return true;
}

Levels detect() {
  Levels levels{};
  levels[0] = true;
  const Registers basic = cpuid(1, 0), extended = cpuid(7, 0), further = cpuid(7, 1);
  if (!has(basic.ecx, {27})) return levels;  // OSXSAVE
  const uint64_t saved = saved_state();
  const bool ymm = (saved & 0x6) == 0x6, zmm = (saved & 0xe6) == 0xe6, tiles = (saved & 0x60000) == 0x60000;
  const bool avx2 = ymm && has(basic.ecx, {12, 28, 29}) && has(extended.ebx, {5});  // FMA, AVX, F16C; AVX2
  const bool avx512 = avx2 && zmm && has(extended.ebx, {16, 17, 28, 30, 31});       // F, DQ, CD, BW, VL
  const bool vnni = avx512 && has(extended.ecx, {11});
  const bool bf16 = vnni && has(further.eax, {5});
  const bool amx = bf16 && tiles && has(extended.edx, {24}) && tiles_granted();
  const bool amx_int8 = amx && has(extended.edx, {25}), amx_bf16 = amx_int8 && has(extended.edx, {22});
  return {true, avx2, avx512, vnni, bf16, amx_int8, amx_bf16};
}

#else

Levels detect() {
  Levels levels{};
  levels[0] = true;
  return levels;
}

#endif

std::string listed(const Levels& levels) {
  std::string text;
  for (int level = 0; level < kLevels; ++level)
    if (levels[level]) text += (text.empty() ? "" : ", ") + std::string(kNames[level]);
  return text;
}

Levels usable() {
  Levels levels = detect();
  const char* wanted = std::getenv("SPAR_ISA");
  if (wanted == nullptr || *wanted == '\0') return levels;
  int highest = 0;
  while (highest < kLevels && kNames[highest] != wanted) ++highest;
  if (highest == kLevels || !levels[highest])
    throw BackendError("SPAR_ISA=" + std::string(wanted) + " is not an instruction set of this machine; it has " +
                       listed(levels));
  for (int level = highest + 1; level < kLevels; ++level) levels[level] = false;
  return levels;
}

const Levels& levels() {
  static const Levels known = usable();
  return known;
}

}  // namespace

std::string_view name(Isa isa) { return kNames[static_cast<int>(isa)]; }

bool available(Isa isa) { return levels()[static_cast<int>(isa)]; }

std::vector<Isa> available_isas() {
  std::vector<Isa> found;
  for (int level = 0; level < kLevels; ++level)
    if (levels()[level]) found.push_back(static_cast<Isa>(level));
  return found;
}

}  // namespace spar
