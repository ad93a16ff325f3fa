// numpy arrays as the kernels want them: the shape checked by name, the memory neither copied nor converted.
#pragma once

#include <pybind11/numpy.h>

#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>

#include "engine/dims.h"
#include "engine/real.h"

namespace spar::bindings {

namespace py = pybind11;

// How far an array may be from dense.
enum class Layout {
  dense,      // row-major without gaps
  last_dense  // any strides but the last axis's
};

// An argument that agrees with `dims` on `axes`; InputError otherwise.
py::array checked(Dims& dims, std::string_view argument, const py::object& value,
                  std::initializer_list<std::string_view> axes, Layout layout = Layout::dense);

// The element type of a checked array: float32, or uint16 holding bf16 bits; InputError otherwise.
Dtype dtype_of(const Dims& dims, std::string_view argument, const py::array& array);

// checked and dtype_of in one.
Reals reals(Dims& dims, std::string_view argument, const py::object& value, std::initializer_list<std::string_view> axes);

// A dense float32 array.
const float* floats(Dims& dims, std::string_view argument, const py::object& value,
                    std::initializer_list<std::string_view> axes);

// A new dense array of float32 or bf16 bits.
py::array make(Dtype dtype, std::initializer_list<int64_t> shape);

// Where a result goes: `given` when it is a writable dense array of that type whose axes agree with `dims`, a new array
// when it is None; InputError otherwise. It must not overlap an input.
py::array output(Dims& dims, std::string_view argument, const py::object& given, Dtype dtype,
                 std::initializer_list<std::string_view> axes);

}  // namespace spar::bindings
