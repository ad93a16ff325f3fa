// The native backend's model: arrays in, arrays out, one call a component with the interpreter lock released.
#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include <cstring>
#if defined(__GLIBC__)
#include <malloc.h>
#endif

#include "engine/error.h"
#include "model/keyvalues.h"
#include "model/model.h"
#include "registry.h"

namespace py = pybind11;
using namespace spar::cpu;

namespace {

using Floats = py::array_t<float, py::array::c_style>;
using Wholes = py::array_t<int64_t, py::array::c_style>;

// Keys or values that stay packed between calls. To Python it looks like an array of the seam's shape.
struct KeptTensor {
  std::shared_ptr<const CrossContext> cross;
  std::shared_ptr<Cache> cache;
  int64_t tokens;
  bool values;

  const KeyValueStore& store() const { return cross ? cross->store : cache->store; }
  Shape shape() const {
    return {store().outer(), store().inner(), store().heads(), tokens, store().dim()};
  }
  Floats array() const {
    Floats out(shape());
    float* to = out.mutable_data();
    py::gil_scoped_release nogil;
    store().read(tokens, values ? nullptr : to, values ? to : nullptr);
    return out;
  }
};

struct Cancel {
  std::atomic<bool> set{false};
};

Tensor tensor_of(const std::string& name, const py::tuple& given) {
  const py::array array = given[0];
  const std::string type = py::str(given[1]);
  Tensor tensor;
  tensor.data = array.data();
  if (type == "F32")
    tensor.type = Stored::f32;
  else if (type == "BF16")
    tensor.type = Stored::bf16;
  else if (type == "F16")
    tensor.type = Stored::f16;
  else
    throw spar::InputError("native: " + name + " has type " + type + "; it takes F32, BF16, F16");
  if (!(array.flags() & py::array::c_style)) throw spar::InputError("native: " + name + " is not contiguous");
  tensor.shape.assign(array.shape(), array.shape() + array.ndim());
  return tensor;
}

Tensors tensors_of(const py::dict& given) {
  Tensors tensors;
  for (const auto& [name, value] : given) {
    const std::string key = py::str(name);
    tensors[key] = tensor_of(key, value.cast<py::tuple>());
  }
  return tensors;
}

// A list of cross keys stands for one array with the branches of all.
Input input_of(const std::string& name, const py::handle& value, Type activations) {
  Input input;
  const auto check = [&](const KeptTensor& kept) {
    if (kept.store().type() != activations)
      throw spar::InputError("native: `" + name + "` was made by a backend of another precision");
  };
  if (py::isinstance<py::list>(value)) {
    for (const py::handle item : py::reinterpret_borrow<py::list>(value)) {
      if (!py::isinstance<KeptTensor>(item) || !item.cast<const KeptTensor&>().cross)
        throw spar::InputError("native: `" + name + "` is a list of something else than cross keys or values");
      const auto& kept = item.cast<const KeptTensor&>();
      check(kept);
      input.crosses.push_back(kept.cross);
    }
  } else if (py::isinstance<KeptTensor>(value)) {
    const auto& kept = value.cast<const KeptTensor&>();
    check(kept);
    if (kept.cross) input.crosses = {kept.cross};
    input.cache = kept.cache;
    input.cached = kept.tokens;
    input.shape = kept.shape();
  } else if (py::isinstance<Floats>(value)) {
    const auto array = value.cast<Floats>();
    input.f32 = array.data();
    input.shape.assign(array.shape(), array.shape() + array.ndim());
  } else if (py::isinstance<Wholes>(value)) {
    const auto array = value.cast<Wholes>();
    input.whole = array.data();
    input.shape.assign(array.shape(), array.shape() + array.ndim());
  } else {
    throw spar::InputError("native: `" + name + "` is not a contiguous float32 or int64 array");
  }
  return input;
}

// Both halves must come from one call; arrays become packed keys and values.
void pair_up(Inputs& inputs, const char* keys_name, const char* values_name, Type activations) {
  const auto keys = inputs.find(keys_name), values = inputs.find(values_name);
  if (keys == inputs.end()) return;
  Input &k = keys->second, &v = values->second;
  if (k.crosses != v.crosses || k.cache != v.cache || k.cached != v.cached)
    throw spar::InputError(std::string("native: `") + keys_name + "` and `" + values_name + "` are not of one call");
  if (!k.crosses.empty() || std::string_view(keys_name) != "cross_keys") return;
  auto made = std::make_shared<CrossContext>(activations, k.shape[0], k.shape[1], k.shape[2], k.shape[4], k.shape[3]);
  made->store.write(k.shape[3], k.f32, v.f32);
  k.crosses = v.crosses = {made};
}

py::array array_of(Output& output) {
  float* data = output.data.release();
  const py::capsule owner(data, [](void* p) { delete[] static_cast<float*>(p); });
  return py::array_t<float>(output.shape, data, owner);
}

py::dict run(Model& model, const std::string& component, const py::dict& given, bool taps, Cancel* cancel) {
  Inputs inputs;
  for (const auto& [name, value] : given) {
    const std::string key = py::str(name);
    inputs[key] = input_of(key, value, model.activations());
  }
  Outputs outputs;
  bool stopped = false;
  {
    py::gil_scoped_release nogil;
    pair_up(inputs, "cross_keys", "cross_values", model.activations());
    pair_up(inputs, "past_keys", "past_values", model.activations());
    try {
      outputs = model.run(component, inputs, taps, cancel ? &cancel->set : nullptr);
    } catch (const Stopped&) {
      stopped = true;
    }
  }
  if (stopped) {
    const py::object kind = py::module_::import("spar_engine.errors").attr("Cancelled");
    py::set_error(kind, (component + ": the caller asked to stop").c_str());
    throw py::error_already_set();
  }
  py::dict named;
  for (auto& [name, output] : outputs.arrays) named[py::str(name)] = array_of(output);
  const auto keep = [&](const char* keys, const char* values, int64_t tokens) {
    named[keys] = KeptTensor{outputs.cross, outputs.cache, tokens, false};
    named[values] = KeptTensor{outputs.cross, outputs.cache, tokens, true};
  };
  if (outputs.cross) keep("cross_keys", "cross_values", outputs.cross->tokens);
  if (outputs.cache) keep("keys", "values", outputs.cached);
  return named;
}

const spar::bindings::Registration registered([](py::module_& module) {
  py::class_<KeptTensor>(module, "KeptTensor", "Keys or values that stay packed between calls of the native backend.")
      .def_property_readonly("shape", [](const KeptTensor& t) { return py::tuple(py::cast(t.shape())); })
      .def_property_readonly("nbytes", [](const KeptTensor& t) { return t.store().bytes() / 2; },
                             "Bytes held, with the room to grow; half for the keys, half for the values.")
      .def_property_readonly("ndim", [](const KeptTensor&) { return 5; })
      .def_property_readonly("dtype", [](const KeptTensor&) { return py::dtype::of<float>(); })
      .def("__len__", [](const KeptTensor& t) { return t.shape()[0]; })
      .def("__getitem__", [](const KeptTensor& t, const py::object& key) { return py::object(t.array()[key]); })
      .def("__array__", [](const KeptTensor& t, const py::object& dtype, const py::object& copy) {
        if (!copy.is_none() && !copy.cast<bool>()) throw py::value_error("packed keys and values need a copy to become an array");
        const py::array array = t.array();
        return dtype.is_none() ? py::object(array) : array.attr("astype")(dtype);
      }, py::arg("dtype") = py::none(), py::arg("copy") = py::none());
  py::class_<Cancel>(module, "Cancel", "A flag that stops a run of the native backend between blocks.")
      .def(py::init<>())
      .def("set", [](Cancel& c) { c.set.store(true); })
      .def("is_set", [](const Cancel& c) { return c.set.load(); });
  py::class_<Model>(module, "NativeModel", "See spar_engine.backends.native.")
      .def(py::init([](std::map<std::string, double> numbers, std::map<std::string, std::vector<int64_t>> lists,
                       const std::string& precision, int threads, bool pin, const std::string& isa) {
             return std::make_unique<Model>(Config{std::move(numbers), std::move(lists)}, precision, threads, pin, isa);
           }),
           py::kw_only(), py::arg("numbers"), py::arg("lists"), py::arg("precision"), py::arg("threads"), py::arg("pin"),
           py::arg("isa"))
      .def("load", [](Model& m, const std::string& component, const py::dict& given, size_t reserve) {
        const Tensors tensors = tensors_of(given);
        py::gil_scoped_release nogil;
        m.load(component, tensors, reserve);
      })
      .def("restore", [](Model& m, const std::string& component, const py::dict& given, const py::buffer& packed) {
        const Tensors tensors = tensors_of(given);
        auto* held = new py::buffer_info(packed.request());
        const std::shared_ptr<char> memory(static_cast<char*>(held->ptr), [held](char*) {
          const py::gil_scoped_acquire gil;
          delete held;
        });
        const size_t bytes = static_cast<size_t>(held->size * held->itemsize);
        py::gil_scoped_release nogil;
        m.restore(component, tensors, memory, bytes);
      })
      .def("packed", [](const Model& m, const std::string& component) {
        const auto [data, bytes] = m.packed(component);
        return py::memoryview::from_memory(data, static_cast<py::ssize_t>(bytes));
      })
      .def("trim", &Model::trim, py::call_guard<py::gil_scoped_release>())
      .def_property_readonly("scratch", &Model::scratch)
      .def("loaded", &Model::loaded)
      .def("unload", &Model::unload, py::call_guard<py::gil_scoped_release>())
      .def("run", &run, py::arg("component"), py::arg("inputs"), py::arg("taps") = false, py::arg("cancel") = nullptr)
      .def_property_readonly("isa", [](const Model& m) { return std::string(spar::name(m.isa())); })
      .def_property_readonly("threads", &Model::threads);
  module.def("return_freed", [] {
#if defined(__GLIBC__)
    malloc_trim(0);
#endif
  }, py::call_guard<py::gil_scoped_release>(), "Give freed memory that the C library keeps for later back to the system.");
  module.def("native_isas", [] {
    std::vector<std::string> names;
    for (const Kernels* table : kernel_tables()) names.emplace_back(spar::name(table->isa));
    return names;
  }, "Instruction sets that the native backend can run here, best first.");
});

}  // namespace
