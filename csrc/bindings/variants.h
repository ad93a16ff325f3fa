// The names of an op's variants, for the function `<op>_variants` that every binding offers.
#pragma once

#include <pybind11/pybind11.h>

#include <span>
#include <string>

#include "engine/variant.h"

namespace spar::bindings {

template <class Fn>
pybind11::list names(std::span<const Variant<Fn>> variants) {
  pybind11::list all;
  for (const auto& variant : variants) all.append(variant.name());
  return all;
}

}  // namespace spar::bindings
