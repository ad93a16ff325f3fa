// The errors kernels and bindings throw; csrc/bindings/module.cpp turns each into its Python class of spar_engine.errors.
#pragma once

#include <stdexcept>
#include <string>

namespace spar {

// An argument of a call that cannot be used: InputError in Python.
struct InputError : std::invalid_argument {
  using std::invalid_argument::invalid_argument;
};

// A variant or instruction set that does not exist or that this machine lacks: BackendError in Python.
struct BackendError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

}  // namespace spar
