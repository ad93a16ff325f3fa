// Python's arrays on a GPU, by either protocol for sharing them.
#pragma once

#include <pybind11/pybind11.h>

#include <string>

#include "bindings/call.h"

namespace spar::cuda {

// The stream of a call: its address as a number; 0 is the default stream. InputError for anything else.
Stream stream_of(const std::string& op, const pybind11::handle& value);

// Fills `array` from a value with __cuda_array_interface__ or, without it, __dlpack__; false where it has neither.
//
// `stream` waits for what the producer still computes: an interface of version 3 names the producer's stream, a DLPack
// producer is told ours. InputError for memory elsewhere, types and layouts that no op takes, and what a producer refuses.
bool read_array(Array& array, const std::string& op, const std::string& name, const pybind11::handle& value, Stream stream);

}  // namespace spar::cuda
