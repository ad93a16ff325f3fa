#include "bindings/arrays.h"

#include "bindings/dlpack.h"
#include "bindings/memory.h"
#include "engine/error.h"

namespace py = pybind11;

namespace spar::cuda {
namespace {

constexpr const char* kTaken = "; the ops take float32, bf16, float8 (e4m3), int32 and uint8";
constexpr const char* kElsewhere = "; pass an array on the GPU";

[[noreturn]] void refuse(const std::string& op, const std::string& name, const std::string& problem) {
  throw InputError(op + ": `" + name + "` " + problem);
}

// The default stream, as both protocols number it.
uintptr_t number_of(Stream stream) { return stream == nullptr ? 1 : reinterpret_cast<uintptr_t>(stream); }

// What a Python error says, without where it was raised.
std::string told(const py::error_already_set& error) { return py::cast<std::string>(py::str(error.value())); }

void check_device(const std::string& op, const std::string& name, int device) {
  if (device == memory::kUnknown) return;
  if (device == memory::kHost) refuse(op, name, std::string("lies in the memory of the CPU") + kElsewhere);
  if (const int current = memory::current_device(); device != current)
    refuse(op, name, "lies on GPU " + std::to_string(device) + ", but GPU " + std::to_string(current) +
                         " is the current one; make the array's device the current one");
}

void dense_strides(Array& array) {
  int64_t dense = 1;
  array.strides.resize(array.shape.size());
  for (size_t axis = array.shape.size(); axis-- > 0; dense *= array.shape[axis]) array.strides[axis] = dense;
}

bool has_elements(const Array& array) {
  for (const int64_t size : array.shape)
    if (size == 0) return false;
  return true;
}

// -- __cuda_array_interface__

Kind kind_of(const std::string& op, const std::string& name, const std::string& typestr) {
  if (typestr == "<f4") return Kind::f32;
  if (typestr == "<V2" || typestr == "|V2" || typestr == "<u2") return Kind::bf16;  // torch; bits
  if (typestr == "<i4") return Kind::i32;
  if (typestr == "|u1") return Kind::bytes;
  refuse(op, name, "has elements of type " + typestr + kTaken);
}

void read_interface(Array& array, const std::string& op, const std::string& name, const py::dict& interface, Stream stream) {
  array.kind = kind_of(op, name, py::cast<std::string>(interface["typestr"]));
  const auto data = py::cast<py::tuple>(interface["data"]);
  array.data = reinterpret_cast<void*>(py::cast<uintptr_t>(data[0]));
  if (py::cast<bool>(data[1])) array.unwritable = "is read-only; pass an array that may be written";
  for (const auto size : py::cast<py::tuple>(interface["shape"])) array.shape.push_back(py::cast<int64_t>(size));
  const auto given = [&](const char* key) { return interface.contains(key) && !interface[key].is_none(); };
  if (given("mask")) refuse(op, name, "has a mask, which the ops would not look at; pass an array without one");
  dense_strides(array);
  if (given("strides")) {
    const auto strides = py::cast<py::tuple>(interface["strides"]);
    if (strides.size() != array.shape.size())
      refuse(op, name, "has " + std::to_string(strides.size()) + " strides for " + std::to_string(array.shape.size()) + " axes");
    const int64_t item = size_of(array.kind);
    for (size_t axis = 0; axis < array.shape.size(); ++axis) {
      const auto bytes = py::cast<int64_t>(strides[axis]);
      if (bytes % item != 0) refuse(op, name, "has a stride of " + std::to_string(bytes) + " bytes; pass a contiguous copy");
      array.strides[axis] = bytes / item;
    }
  }
  if (has_elements(array)) check_device(op, name, memory::device_of(array.data));
  if (!given("stream")) return;
  const auto producer = py::cast<uintptr_t>(interface["stream"]);
  if (producer == 0) refuse(op, name, "names stream 0, which the protocol forbids; the default stream is 1");
  if (producer != number_of(stream)) memory::wait(stream, reinterpret_cast<Stream>(producer));
}

// -- __dlpack__

std::string type_name(const dlpack::Tensor& tensor) {
  const char* kind = tensor.code == dlpack::kInt      ? "int"
                     : tensor.code == dlpack::kUint   ? "uint"
                     : tensor.code == dlpack::kFloat  ? "float"
                     : tensor.code == dlpack::kBfloat ? "bfloat"
                                                      : nullptr;
  std::string text = kind != nullptr ? kind : "code " + std::to_string(tensor.code) + ", bits ";
  text += std::to_string(tensor.bits);
  return tensor.lanes == 1 ? text : text + " in groups of " + std::to_string(tensor.lanes);
}

Kind kind_of(const std::string& op, const std::string& name, const dlpack::Tensor& tensor) {
  const auto is = [&](dlpack::Code code, int bits) { return tensor.code == code && tensor.bits == bits && tensor.lanes == 1; };
  if (is(dlpack::kFloat, 32)) return Kind::f32;
  if (is(dlpack::kBfloat, 16) || is(dlpack::kUint, 16)) return Kind::bf16;
  if (is(dlpack::kInt, 32)) return Kind::i32;
  if (is(dlpack::kUint, 8)) return Kind::bytes;
  if (is(dlpack::kE4m3, 8)) return Kind::e4m3;
  refuse(op, name, "has elements of type " + type_name(tensor) + kTaken);
}

void read_tensor(Array& array, const std::string& op, const std::string& name, const dlpack::Tensor& tensor) {
  array.kind = kind_of(op, name, tensor);
  array.data = static_cast<char*>(tensor.data) + tensor.byte_offset;
  array.shape.assign(tensor.shape, tensor.shape + tensor.axes);
  dense_strides(array);
  if (tensor.strides != nullptr) array.strides.assign(tensor.strides, tensor.strides + tensor.axes);
}

// Takes over what a capsule holds; its deleter runs when the last copy of `array` goes, with Python's lock held.
template <class Managed>
Managed* take(Array& array, const py::capsule& capsule) {
  auto* managed = static_cast<Managed*>(PyCapsule_GetPointer(capsule.ptr(), Managed::kName));
  if (managed == nullptr || PyCapsule_SetName(capsule.ptr(), Managed::kUsed) != 0) throw py::error_already_set();
  array.lent = std::shared_ptr<void>(managed, [](void* lent) {
    auto* managed = static_cast<Managed*>(lent);
    if (managed->deleter != nullptr) managed->deleter(managed);
  });
  return managed;
}

py::object ask(const py::object& dlpack, const py::object& stream) {
  try {
    return dlpack(py::arg("stream") = stream, py::arg("max_version") = py::make_tuple(dlpack::Versioned::kMajor, 0));
  } catch (const py::error_already_set& error) {
    if (!error.matches(PyExc_TypeError)) throw;
  }
  return dlpack(py::arg("stream") = stream);  // a producer from before version 1 knows no max_version
}

void read_dlpack(Array& array, const std::string& op, const std::string& name, const py::handle& value, Stream stream) {
  const auto device = py::cast<std::pair<int32_t, int32_t>>(value.attr("__dlpack_device__")());
  if (!memory::reachable(device.first)) {
    if (device.first == dlpack::kCpu) check_device(op, name, memory::kHost);
    refuse(op, name, "lies on a device of DLPack's type " + std::to_string(device.first) + kElsewhere);
  }
  if (device.first == dlpack::kCuda) check_device(op, name, device.second);
  const py::object ours = device.first == dlpack::kCpu ? py::none() : py::object(py::int_(number_of(stream)));
  const auto capsule = ask(value.attr("__dlpack__"), ours);
  if (!PyCapsule_IsValid(capsule.ptr(), dlpack::Versioned::kName))
    return read_tensor(array, op, name, take<dlpack::Unversioned>(array, capsule)->tensor);
  const auto* managed = take<dlpack::Versioned>(array, capsule);
  if (managed->major != dlpack::Versioned::kMajor)
    refuse(op, name, "is shared by version " + std::to_string(managed->major) + " of DLPack; this module reads version 1");
  if (managed->flags & dlpack::Versioned::kCopied)
    array.unwritable = "is a copy that its producer made, where no result would be seen; pass an array that can be shared";
  if (managed->flags & dlpack::Versioned::kReadOnly) array.unwritable = "is read-only; pass an array that may be written";
  read_tensor(array, op, name, managed->tensor);
}

}  // namespace

Stream stream_of(const std::string& op, const py::handle& value) {
  if (value.is_none()) return nullptr;
  if (!py::isinstance<py::int_>(value) || PyObject_RichCompareBool(value.ptr(), py::int_(0).ptr(), Py_LT) != 0)
    refuse(op, "stream", "is " + py::cast<std::string>(py::repr(value)) + "; pass the stream's address as a number, or None");
  return reinterpret_cast<Stream>(py::cast<uintptr_t>(value));
}

bool read_array(Array& array, const std::string& op, const std::string& name, const py::handle& value, Stream stream) {
  // Asked for once: torch makes the dictionary anew each time, and raises for a tensor that it shares by DLPack only.
  const py::object interface = py::getattr(value, "__cuda_array_interface__", py::none());
  if (!interface.is_none()) {
    try {
      read_interface(array, op, name, py::cast<py::dict>(interface), stream);
    } catch (const py::error_already_set& error) {
      refuse(op, name, std::string("has no valid __cuda_array_interface__: ") + told(error));
    } catch (const py::cast_error& error) {
      refuse(op, name, std::string("has no valid __cuda_array_interface__: ") + error.what());
    }
    return true;
  }
  if (!py::hasattr(value, "__dlpack__")) return false;
  try {
    read_dlpack(array, op, name, value, stream);
  } catch (const py::error_already_set& error) {
    refuse(op, name, std::string("cannot be shared by DLPack: ") + told(error));
  }
  return true;
}

}  // namespace spar::cuda
