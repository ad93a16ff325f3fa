// Each file of this folder adds its functions to spar_engine._native with one static Registration.
#pragma once

#include <pybind11/pybind11.h>

#include <vector>

namespace spar::bindings {

using Register = void (*)(pybind11::module_&);

inline std::vector<Register>& registrations() {
  static std::vector<Register> all;
  return all;
}

struct Registration {
  explicit Registration(Register add) { registrations().push_back(add); }
};

}  // namespace spar::bindings
