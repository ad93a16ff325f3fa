// Python module of the CUDA ops: keywords in, one launch out. The same file serves the emulation of the tests.
#include <pybind11/pybind11.h>

#include "bindings/call.h"
#include "engine/error.h"

#ifndef SPAR_CUDA_MODULE
#define SPAR_CUDA_MODULE _cuda
#endif

namespace py = pybind11;

namespace spar::cuda {
namespace {

[[noreturn]] void refuse(const std::string& op, const std::string& name, const std::string& problem) {
  throw InputError(op + ": `" + name + "` " + problem);
}

Kind kind_of(const std::string& op, const std::string& name, const std::string& typestr) {
  if (typestr == "<f4") return Kind::f32;
  if (typestr == "<V2" || typestr == "|V2" || typestr == "<u2") return Kind::bf16;  // torch; bits
  if (typestr == "<i4") return Kind::i32;
  if (typestr == "|u1") return Kind::bytes;
  refuse(op, name, "has elements of type " + typestr + "; the ops take float32, bf16, int32 and uint8");
}

Array array_of(const std::string& op, const std::string& name, const py::handle& value) {
  const py::dict interface = value.attr("__cuda_array_interface__");
  Array array;
  array.kind = kind_of(op, name, py::cast<std::string>(interface["typestr"]));
  const auto data = py::cast<py::tuple>(interface["data"]);
  array.data = reinterpret_cast<void*>(py::cast<uintptr_t>(data[0]));
  array.writable = !py::cast<bool>(data[1]);
  const int64_t item = array.kind == Kind::bytes ? 1 : array.kind == Kind::bf16 ? 2 : 4;
  for (const auto size : py::cast<py::tuple>(interface["shape"])) array.shape.push_back(py::cast<int64_t>(size));
  array.strides.resize(array.shape.size());
  if (interface.contains("strides") && !interface["strides"].is_none()) {
    const auto strides = py::cast<py::tuple>(interface["strides"]);
    for (size_t axis = 0; axis < array.shape.size(); ++axis) {
      const auto bytes = py::cast<int64_t>(strides[axis]);
      if (bytes % item != 0) refuse(op, name, "has a stride of " + std::to_string(bytes) + " bytes; pass a contiguous copy");
      array.strides[axis] = bytes / item;
    }
  } else {
    int64_t dense = 1;
    for (size_t axis = array.shape.size(); axis-- > 0; dense *= array.shape[axis]) array.strides[axis] = dense;
  }
  return array;
}

void invoke(const std::string& op, Registration::Run run, const py::kwargs& keywords) {
  std::map<std::string, Array> arrays;
  std::map<std::string, double> numbers;
  Stream stream = nullptr;
  for (const auto& [key, value] : keywords) {
    const auto name = py::cast<std::string>(key);
    if (value.is_none()) continue;  // as if it were not there
    if (name == "stream")
      stream = reinterpret_cast<Stream>(py::cast<uintptr_t>(value));
    else if (py::hasattr(value, "__cuda_array_interface__"))
      arrays[name] = array_of(op, name, value);
    else if (py::isinstance<py::int_>(value) || py::isinstance<py::float_>(value))
      numbers[name] = py::cast<double>(value);
    else
      refuse(op, name,
             "is a " + py::cast<std::string>(py::type::of(value).attr("__name__")) +
                 "; pass an array on the GPU (with __cuda_array_interface__), a number or None");
  }
  Call call(op, std::move(arrays), std::move(numbers), stream);
  run(call);
}

void raise_as(const char* name, const char* message) {
  py::set_error(py::module_::import("spar_engine.errors").attr(name), message);
}

}  // namespace
}  // namespace spar::cuda

PYBIND11_MODULE(SPAR_CUDA_MODULE, module) {
  using namespace spar::cuda;
  module.doc() = "CUDA ops on arrays of the caller; docs/kernels.md has the table of their arguments.";
  py::register_local_exception_translator([](std::exception_ptr thrown) {
    try {
      if (thrown) std::rethrow_exception(thrown);
    } catch (const spar::InputError& error) {
      raise_as("InputError", error.what());
    } catch (const spar::BackendError& error) {
      raise_as("BackendError", error.what());
    }
  });
  for (const auto& [op, run] : registrations())
    module.def(op.c_str(), [op = op, run = run](const py::kwargs& keywords) { invoke(op, run, keywords); });
  module.def("dynamic_token_routing_workspace", &dynamic_token_routing_workspace, py::kw_only(), py::arg("tokens"),
             py::arg("hidden"), py::arg("depth"));
  module.def("relu_linear_attention_workspace", &relu_linear_attention_workspace, py::kw_only(), py::arg("batch"),
             py::arg("heads"), py::arg("tokens"), py::arg("head_dim"));
}
