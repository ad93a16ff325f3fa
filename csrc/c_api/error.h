// What loading and requests throw inside the library; spar.cpp turns each into a status. Messages are one line: thing,
// value, remedy. InputError and BackendError are those of the kernels.
#pragma once

#include <stdexcept>
#include <string>

#include "engine/error.h"

namespace spar::c_api {

struct ConfigError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

struct CheckpointError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// The caller asked to stop.
struct Cancelled {};

}  // namespace spar::c_api
