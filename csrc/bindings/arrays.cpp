#include "arrays.h"

#include <vector>

namespace spar::bindings {
namespace {

std::string quoted(std::string_view argument) { return "`" + std::string(argument) + "`"; }

bool dense_from(const py::array& array, py::ssize_t first) {
  py::ssize_t expected = array.itemsize();
  for (py::ssize_t axis = array.ndim() - 1; axis >= first; --axis) {
    if (array.shape(axis) > 1 && array.strides(axis) != expected) return false;
    expected *= array.shape(axis);
  }
  return true;
}

}  // namespace

py::array checked(Dims& dims, std::string_view argument, const py::object& value,
                  std::initializer_list<std::string_view> axes, Layout layout) {
  if (!py::isinstance<py::array>(value))
    dims.fail(quoted(argument) + " is a " + std::string(py::str(py::type::of(value).attr("__name__"))) +
              "; pass a numpy array");
  auto array = py::reinterpret_borrow<py::array>(value);
  std::vector<int64_t> shape(array.shape(), array.shape() + array.ndim());
  dims.match(argument, shape, axes);
  const bool aligned = (array.flags() & py::detail::npy_api::NPY_ARRAY_ALIGNED_) != 0;
  const bool dense = array.size() == 0 || dense_from(array, layout == Layout::dense ? 0 : array.ndim() - 1);
  bool whole = true;  // strides count elements
  for (py::ssize_t axis = 0; axis < array.ndim(); ++axis) whole &= array.strides(axis) % array.itemsize() == 0;
  if (!aligned || !dense || !whole)
    dims.fail(quoted(argument) + (layout == Layout::dense ? " is not contiguous" : " is not contiguous along its last axis") +
              "; pass np.ascontiguousarray(" + std::string(argument) + ")");
  return array;
}

Dtype dtype_of(const Dims& dims, std::string_view argument, const py::array& array) {
  if (py::isinstance<py::array_t<float>>(array)) return Dtype::f32;
  if (py::isinstance<py::array_t<uint16_t>>(array)) return Dtype::bf16;
  dims.fail(quoted(argument) + " is " + std::string(py::str(array.dtype())) + "; use float32, or bf16 bits as uint16");
}

Reals reals(Dims& dims, std::string_view argument, const py::object& value, std::initializer_list<std::string_view> axes) {
  const auto array = checked(dims, argument, value, axes);
  return {array.data(), dtype_of(dims, argument, array)};
}

const float* floats(Dims& dims, std::string_view argument, const py::object& value,
                    std::initializer_list<std::string_view> axes) {
  const auto array = checked(dims, argument, value, axes);
  if (dtype_of(dims, argument, array) != Dtype::f32) dims.fail(quoted(argument) + " is uint16; use float32");
  return static_cast<const float*>(array.data());
}

py::array make(Dtype dtype, std::initializer_list<int64_t> shape) {
  const std::vector<py::ssize_t> sizes(shape.begin(), shape.end());
  if (dtype == Dtype::bf16) return py::array_t<uint16_t>(sizes);
  return py::array_t<float>(sizes);
}

py::array output(Dims& dims, std::string_view argument, const py::object& given, Dtype dtype,
                 std::initializer_list<std::string_view> axes) {
  if (given.is_none()) {
    std::vector<py::ssize_t> sizes;
    for (const auto axis : axes) sizes.push_back(dims[axis]);
    if (dtype == Dtype::bf16) return py::array_t<uint16_t>(sizes);
    return py::array_t<float>(sizes);
  }
  const auto array = checked(dims, argument, given, axes);
  if (dtype_of(dims, argument, array) != dtype)
    dims.fail(quoted(argument) + " is " + std::string(py::str(array.dtype())) + "; the result is " +
              (dtype == Dtype::bf16 ? "bf16 bits as uint16" : "float32"));
  if (!array.writeable()) dims.fail(quoted(argument) + " is read-only; pass an array that may be written");
  return array;
}

}  // namespace spar::bindings
