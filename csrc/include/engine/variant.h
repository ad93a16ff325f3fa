// The implementations of one op, best first, and the choice among them.
#pragma once

#include <initializer_list>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "engine/error.h"
#include "engine/isa.h"

// Address of a kernel that exists only in x86 builds; null elsewhere, which on_this_host leaves out.
#if defined(__x86_64__)
#define SPAR_X86(kernel) kernel
#else
#define SPAR_X86(kernel) nullptr
#endif

namespace spar {

template <class Fn>
struct Variant {
  Isa isa;
  Fn* run;
  std::string_view label = {};  // tells two variants of one instruction set apart

  std::string name() const {
    std::string text(spar::name(isa));
    return label.empty() ? text : text + "-" + std::string(label);
  }
};

// The variants that this machine can run, in the order given.
template <class Fn>
std::vector<Variant<Fn>> on_this_host(std::initializer_list<Variant<Fn>> best_first) {
  std::vector<Variant<Fn>> kept;
  for (const auto& variant : best_first)
    if (variant.run != nullptr && available(variant.isa)) kept.push_back(variant);
  return kept;
}

// The variant called `wanted`, or the best one when `wanted` is empty.
template <class Fn>
const Variant<Fn>& pick(std::string_view op, std::span<const Variant<Fn>> variants, std::string_view wanted) {
  if (wanted.empty()) return variants.front();
  std::string names;
  for (const auto& variant : variants) {
    if (variant.name() == wanted) return variant;
    names += (names.empty() ? "" : ", ") + variant.name();
  }
  throw BackendError(std::string(op) + ": variant '" + std::string(wanted) + "' is not among those of this machine: " +
                     names);
}

}  // namespace spar
