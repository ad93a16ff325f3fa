// Kernels of the native backend made ready once and called again and again over the same buffers, as a component calls
// them: weights packed, rows padded as the arena pads them, nothing copied or converted on the way. For benchmarks.
#pragma once

#include <pybind11/numpy.h>

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "engine/dims.h"
#include "model/run.h"

namespace spar::bindings {

// An array in an arena, as Python is to see it; strides in elements.
struct Buffer {
  cpu::View view;
  std::vector<int64_t> shape, strides;
};

// One set of live buffers, and what a call over them does.
struct Slot {
  std::map<std::string, Buffer> inputs;
  Buffer out;
  std::function<void(cpu::Run&)> call;
};

// What an op is made from.
class Setup {
 public:
  using Floats = pybind11::array_t<float, pybind11::array::c_style | pybind11::array::forcecast>;

  Setup(const std::string& op, std::map<std::string, int64_t> sizes, std::map<std::string, Floats> weights);

  // A size of at least `least`; InputError otherwise.
  int64_t size(const std::string& name, int64_t least = 1) const;
  // A weight of exactly this shape; InputError otherwise.
  const float* weight(const std::string& name, const std::vector<int64_t>& shape) const;
  [[noreturn]] void fail(const std::string& message) const { dims_.fail(message); }

 private:
  Dims dims_;
  std::map<std::string, int64_t> sizes_;
  std::map<std::string, Floats> weights_;
};

class Prepared {
 public:
  // op       one of prepared_ops()
  // dtype    f32; bf16; int8 and int4: weights in that, activations in bf16. InputError where the op has no such weights
  // isa      table of kernels; "": the best
  // threads  of each call
  // slots    sets of live buffers; they share the weights
  Prepared(const std::string& op, const Setup& setup, const std::string& dtype, const std::string& isa, int64_t threads,
           int slots);

  cpu::Type weights;      // f32, bf16, s8 or s4
  cpu::Type activations;  // f32 or bf16
  cpu::Arena arena;       // weights and buffers
  cpu::Pool& pool;
  const cpu::Kernels& kernels;

  // InputError unless weights and activations are of one type: for ops that quantise nothing.
  void refuse_quantized(const Setup& setup) const;
  // A new array of rows, each the last axis; `stored` is their length in memory where it is longer, the rest zeros.
  Buffer rows(cpu::Type type, std::vector<int64_t> shape, int64_t stored = 0);
  // A new array [batch, heads, tokens, dim] over rows that are tokens and hold all heads side by side.
  Buffer heads(int64_t batch, int64_t heads, int64_t tokens, int64_t dim);
  // A copy of a weight that lives as long as the buffers.
  const float* kept(const float* values, int64_t count);

  const Slot& slot(int index) const;
  void run(int index);

 private:
  cpu::Arena scratch_;
  std::vector<Slot> slots_;
};

// Makes what all slots share and returns what makes one slot.
using Prepare = std::function<Slot()>(Prepared&, const Setup&);

// The ops, by name; each file of ops adds its own with a static Preparation.
std::map<std::string, Prepare*>& prepared_ops();

struct Preparation {
  Preparation(const char* op, Prepare* prepare) { prepared_ops().emplace(op, prepare); }
};

}  // namespace spar::bindings
