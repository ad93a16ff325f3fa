// Python module of the CUDA ops: keywords in, one launch out. The same file serves the emulation of the tests.
#include <pybind11/pybind11.h>

#include "bindings/arrays.h"
#include "bindings/call.h"
#include "engine/error.h"

#ifndef SPAR_CUDA_MODULE
#define SPAR_CUDA_MODULE _cuda
#endif

namespace py = pybind11;

namespace spar::cuda {
namespace {

void invoke(const std::string& op, Registration::Run run, const py::kwargs& keywords) {
  std::map<std::string, Array> arrays;
  std::map<std::string, double> numbers;
  const Stream stream = keywords.contains("stream") ? stream_of(op, keywords["stream"]) : nullptr;
  for (const auto& [key, value] : keywords) {
    const auto name = py::cast<std::string>(key);
    if (value.is_none() || name == "stream") continue;  // None: as if it were not there
    Array array;
    if (py::isinstance<py::int_>(value) || py::isinstance<py::float_>(value))
      numbers[name] = py::cast<double>(value);
    else if (read_array(array, op, name, value, stream))
      arrays[name] = std::move(array);
    else
      throw InputError(op + ": `" + name + "` is a " + py::cast<std::string>(py::type::of(value).attr("__name__")) +
                       "; pass an array on the GPU (with __cuda_array_interface__ or __dlpack__), a number or None");
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
