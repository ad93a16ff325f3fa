#include "engine/isa.h"

#include <pybind11/stl.h>

#include <string>

#include "registry.h"

namespace py = pybind11;

static const spar::bindings::Registration registered([](py::module_& module) {
  module.def(
      "isas",
      [] {
        std::vector<std::string> names;
        for (const auto isa : spar::available_isas()) names.emplace_back(spar::name(isa));
        return names;
      },
      "Instruction sets that kernels may use on this machine, lowest first; SPAR_ISA caps them.");
});
