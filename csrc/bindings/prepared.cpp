#include "prepared.h"

#include <pybind11/stl.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <utility>

#include "registry.h"
#include "threads.h"

namespace py = pybind11;

namespace spar::bindings {

using namespace cpu;

std::map<std::string, Prepare*>& prepared_ops() {
  static std::map<std::string, Prepare*> all;
  return all;
}

Setup::Setup(const std::string& op, std::map<std::string, int64_t> sizes, std::map<std::string, Floats> weights)
    : dims_(op), sizes_(std::move(sizes)), weights_(std::move(weights)) {}

int64_t Setup::size(const std::string& name, int64_t least) const {
  const auto found = sizes_.find(name);
  if (found == sizes_.end()) fail("size `" + name + "` is missing");
  if (found->second < least)
    fail(name + "=" + std::to_string(found->second) + "; it must be at least " + std::to_string(least));
  return found->second;
}

const float* Setup::weight(const std::string& name, const std::vector<int64_t>& shape) const {
  const auto found = weights_.find(name);
  if (found == weights_.end()) fail("weight `" + name + "` is missing");
  const Floats& given = found->second;
  bool same = given.ndim() == static_cast<py::ssize_t>(shape.size());
  std::string wanted;
  for (size_t i = 0; i < shape.size(); ++i) {
    same = same && given.shape(static_cast<py::ssize_t>(i)) == shape[i];
    wanted += (i ? ", " : "") + std::to_string(shape[i]);
  }
  if (!same) fail("weight `" + name + "` has another shape than [" + wanted + "], which follows from the sizes");
  return given.data();
}

namespace {

Type weights_of(const Setup& setup, const std::string& dtype) {
  static const std::map<std::string, Type> types = {
      {"f32", Type::f32}, {"bf16", Type::bf16}, {"int8", Type::s8}, {"int4", Type::s4}};
  const auto found = types.find(dtype);
  if (found == types.end()) setup.fail("dtype='" + dtype + "' is unknown; there are f32, bf16, int8, int4");
  return found->second;
}

Prepare* maker_of(const std::string& op, const Setup& setup) {
  const auto found = prepared_ops().find(op);
  if (found != prepared_ops().end()) return found->second;
  std::string names;
  for (const auto& each : prepared_ops()) names += (names.empty() ? "" : ", ") + each.first;
  setup.fail("it is none of the prepared ops, which are " + names);
}

}  // namespace

Prepared::Prepared(const std::string& op, const Setup& setup, const std::string& dtype, const std::string& isa,
                   int64_t threads, int slots)
    : weights(weights_of(setup, dtype)),
      activations(weights == Type::f32 ? Type::f32 : Type::bf16),
      pool(shared_pool(Dims(op), threads)),
      kernels(cpu::kernels(isa)) {
  if (slots < 1) setup.fail("slots=" + std::to_string(slots) + "; it must be at least 1");
  const auto make = maker_of(op, setup)(*this, setup);
  for (int i = 0; i < slots; ++i) slots_.push_back(make());
}

void Prepared::refuse_quantized(const Setup& setup) const {
  if (weights != activations) setup.fail("it has no weights to quantise; dtype is f32 or bf16");
}

Buffer Prepared::rows(Type type, std::vector<int64_t> shape, int64_t stored) {
  int64_t count = 1;
  for (size_t i = 0; i + 1 < shape.size(); ++i) count *= shape[i];
  const View view = arena.matrix(type, count, std::max(stored, shape.back()));
  std::memset(view.data, 0, static_cast<size_t>(count * view.stride * size_of(type)));
  std::vector<int64_t> strides(shape.size(), 1);
  int64_t step = view.stride;
  for (size_t axis = shape.size() - 1; axis-- > 0; step *= shape[axis]) strides[axis] = step;
  return {view, std::move(shape), std::move(strides)};
}

Buffer Prepared::heads(int64_t batch, int64_t heads, int64_t tokens, int64_t dim) {
  const View view = rows(activations, {batch * tokens, heads * dim}).view;
  return {view, {batch, heads, tokens, dim}, {tokens * view.stride, dim, view.stride, 1}};
}

const float* Prepared::kept(const float* values, int64_t count) {
  float* copy = arena.take<float>(count);
  std::copy_n(values, count, copy);
  return copy;
}

const Slot& Prepared::slot(int index) const {
  if (index < 0 || index >= static_cast<int>(slots_.size()))
    throw InputError("prepared: slot=" + std::to_string(index) + "; it must be from 0 to " +
                     std::to_string(slots_.size() - 1));
  return slots_[static_cast<size_t>(index)];
}

void Prepared::run(int index) {
  const Slot& mine = slot(index);
  Pool::Seat seat(pool);
  Frame frame(scratch_);
  Run run(kernels, seat, scratch_, activations, nullptr, nullptr);
  mine.call(run);
}

namespace {

using Floats = Setup::Floats;

// The memory itself; it lives as long as an array of it.
py::array array_of(const py::object& owner, const Buffer& buffer) {
  const auto bytes = static_cast<py::ssize_t>(size_of(buffer.view.type));
  std::vector<py::ssize_t> shape(buffer.shape.begin(), buffer.shape.end()), strides;
  for (const int64_t stride : buffer.strides) strides.push_back(static_cast<py::ssize_t>(stride) * bytes);
  const auto dtype = buffer.view.type == Type::f32 ? py::dtype::of<float>() : py::dtype::of<uint16_t>();
  return py::array(dtype, std::move(shape), std::move(strides), buffer.view.data, owner);
}

std::unique_ptr<Prepared> prepare(const std::string& op, std::map<std::string, int64_t> sizes,
                                  std::map<std::string, Floats> weights, const std::string& dtype,
                                  const std::string& isa, int64_t threads, int slots) {
  const Setup setup(op, std::move(sizes), std::move(weights));
  return std::make_unique<Prepared>(op, setup, dtype, isa, threads, slots);
}

const Registration registered([](py::module_& module) {
  py::class_<Prepared>(module, "Prepared")
      .def(py::init(&prepare), py::arg("op"), py::kw_only(), py::arg("sizes"), py::arg("weights"), py::arg("dtype"),
           py::arg("isa") = "", py::arg("threads") = 1, py::arg("slots") = 1)
      .def("inputs", [](const py::object& self, int slot) {
        py::dict found;
        for (const auto& [name, buffer] : self.cast<const Prepared&>().slot(slot).inputs)
          found[py::str(name)] = array_of(self, buffer);
        return found;
      }, "Live inputs of a slot by name, float32 or bf16 bits as uint16; rows may be longer than they show.")
      .def("out", [](const py::object& self, int slot) {
        return array_of(self, self.cast<const Prepared&>().slot(slot).out);
      }, "The live result of a slot.")
      .def("run", &Prepared::run, py::arg("slot"), py::call_guard<py::gil_scoped_release>());
  module.def("prepared_ops", [] {
    std::vector<std::string> names;
    for (const auto& each : prepared_ops()) names.push_back(each.first);
    return names;
  }, "Ops that `Prepared` makes ready, sorted.");
});

}  // namespace

}  // namespace spar::bindings
