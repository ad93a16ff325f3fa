#include <pybind11/pybind11.h>

#include "engine/error.h"
#include "registry.h"

namespace py = pybind11;

namespace {

void raise_as(const char* name, const char* message) {
  py::set_error(py::module_::import("spar_engine.errors").attr(name), message);
}

}  // namespace

PYBIND11_MODULE(_native, module) {
  module.doc() = "Native kernels. Call them through spar_engine.ops, which documents them.";
  py::register_local_exception_translator([](std::exception_ptr thrown) {
    try {
      if (thrown) std::rethrow_exception(thrown);
    } catch (const spar::InputError& error) {
      raise_as("InputError", error.what());
    } catch (const spar::BackendError& error) {
      raise_as("BackendError", error.what());
    }
  });
  for (const auto add : spar::bindings::registrations()) add(module);
}
