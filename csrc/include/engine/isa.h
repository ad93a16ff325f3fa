// Instruction sets a kernel file may be compiled for, and what this machine runs.
//
// The suffix of a kernel's file name is the name of its instruction set; CMakeLists.txt gives it the matching flags.
// The order is the order in time: a processor with one level has, in practice, all the ones before it.
#pragma once

#include <string_view>
#include <vector>

namespace spar {

enum class Isa {
  scalar,       // what the compiler targets by default
  avx2,         // AVX2, FMA, F16C
  avx512,       // AVX-512 F, BW, CD, DQ, VL
  avx512_vnni,  // + VNNI (int8 dot products)
  avx512_bf16,  // + BF16 (bf16 dot products)
  amx_int8,     // + AMX tiles, int8 products
  amx_bf16,     // + AMX bf16 products
};

// Name as in file names and in SPAR_ISA.
std::string_view name(Isa isa);

// Whether the processor and the operating system run `isa`, and SPAR_ISA does not rule it out. The environment
// variable SPAR_ISA, read once, names the highest level to use. Throws BackendError when it is no level or one that
// this machine lacks. Asks the kernel for AMX tile data, which every process must do once before its first tile.
bool available(Isa isa);

// Every available level, lowest first; never empty.
std::vector<Isa> available_isas();

}  // namespace spar
