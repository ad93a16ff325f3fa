#include <pybind11/stl.h>

#include <string>

#include "../bench/probes.h"
#include "engine/error.h"
#include "registry.h"

namespace py = pybind11;
using namespace spar;

namespace {

bench::Pass pass_named(const std::string& name) {
  if (name == "read") return bench::Pass::read;
  if (name == "copy") return bench::Pass::copy;
  if (name == "copy_streaming") return bench::Pass::copy_streaming;
  throw InputError("roof probe: pass '" + name + "' is unknown; use read, copy or copy_streaming");
}

const bench::Peak& peak_at(size_t index) {
  const auto all = bench::peaks();
  if (index >= all.size())
    throw InputError("roof probe: peak " + std::to_string(index) + " is unknown; there are " + std::to_string(all.size()));
  return all[index];
}

}  // namespace

static const spar::bindings::Registration registered([](py::module_& module) {
  py::module_ roofs = module.def_submodule("roofs", "Probes of what this machine computes and moves at most.");
  roofs.def(
      "peaks",
      [] {
        py::list listed;
        for (const auto& peak : bench::peaks()) {
          py::dict entry;
          entry["isa"] = peak.name;
          entry["dtype"] = peak.dtype;
          entry["independent"] = peak.independent;
          entry["operations"] = peak.operations;
          listed.append(entry);
        }
        return listed;
      },
      "Arithmetic probes of this machine; `operations` are those of one iteration of one thread.");
  roofs.def(
      "time_peak",
      [](size_t index, int64_t iterations, int threads) { return bench::time_peak(peak_at(index), iterations, threads); },
      py::arg("index"), py::arg("iterations"), py::arg("threads"), py::call_guard<py::gil_scoped_release>(),
      "Seconds for `iterations` of probe `index` of peaks() on that many pinned threads.");
  roofs.def(
      "time_stream",
      [](const std::string& pass, size_t bytes, int64_t repeats, int threads) {
        return bench::time_stream(pass_named(pass), bytes, repeats, threads);
      },
      py::arg("pass_name"), py::arg("bytes"), py::arg("repeats"), py::arg("threads"),
      py::call_guard<py::gil_scoped_release>(),
      "Seconds of one pass over `bytes` in all: read, copy or copy_streaming (half read, half written).");
  roofs.def("time_chain", &bench::time_chain, py::arg("iterations"), py::call_guard<py::gil_scoped_release>(),
            "Seconds of 8 * iterations dependent additions, one a cycle.");
  roofs.def("time_sweep", &bench::time_sweep, py::arg("bytes"), py::call_guard<py::gil_scoped_release>(),
            "Seconds of one read of `bytes` by this thread, from a buffer that is kept.");
  roofs.def("evict", &bench::evict, py::arg("bytes"), py::call_guard<py::gil_scoped_release>(),
            "Drives everything else out of the caches with a buffer of `bytes`, best twice the last level.");
});
