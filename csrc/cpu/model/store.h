// Weights: tensors of a checkpoint by name, and the memory that holds them packed.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "core/memory.h"
#include "core/pack.h"

namespace spar::cpu {

enum class Stored : uint8_t { f32, bf16, f16 };

// A tensor as it lies in the file.
struct Tensor {
  const void* data = nullptr;
  Stored type = Stored::f32;
  std::vector<int64_t> shape;

  int64_t count() const;
  void read(int64_t first, int64_t count, float* to) const;  // as f32
};

using Tensors = std::unordered_map<std::string, Tensor>;

// Memory for everything a component keeps, in the order in which it is asked for. The same component asks in the same
// order every time, so the filled memory is also the contents of its cache file: a store over a file skips the filling.
class Store {
 public:
  explicit Store(size_t bytes) : owned_(std::make_unique<Reserve>(bytes)), base_(owned_->data()), size_(bytes) {}
  Store(char* filled, size_t bytes) : base_(filled), size_(bytes), filled_(true) {}
  char* take(size_t bytes);
  bool filled() const { return filled_; }
  const char* data() const { return base_; }
  size_t used() const { return used_; }

 private:
  std::unique_ptr<Reserve> owned_;
  char* base_;
  size_t size_, used_ = 0;
  bool filled_ = false;
};

// Reads the weights of one component into a store.
class Loader {
 public:
  Loader(const Tensors& tensors, Store& store, Pool::Seat& seat, Type weights)
      : tensors_(tensors), store_(store), seat_(seat), weights_(weights) {}

  bool has(const std::string& name) const { return tensors_.count(name) != 0; }
  const Tensor& tensor(const std::string& name) const;

  // [count] f32, as stored or made by `fill`.
  const float* vector(const std::string& name) { return vector_of({name}); }
  const float* vector_of(const std::vector<std::string>& names);  // one after another
  const float* made(int64_t count, const std::function<void(float*)>& fill);

  // The types of the linears of the language model, which one token after another reads from memory; of the other large
  // ones, which compute; and of layers that are small or sensitive. With 4-bit weights: s4, s8, bf16.
  Type text() const { return weights_; }
  Type large() const { return weights_ == Type::s4 ? Type::s8 : weights_; }
  Type fine() const { return large() == Type::s8 ? Type::bf16 : weights_; }

  // A packed [n, k] matrix whose rows `row` gives; bias null: none.
  PackedLinear packed(int64_t n, int64_t k, const WeightRow& row, const float* bias, Type type);
  // `prefix`.weight and, if it is there, `prefix`.bias.
  PackedLinear linear(const std::string& prefix, Type type) { return stacked({prefix}, type); }
  // Several linears of one input as one, outputs one after another; a missing bias among others counts as zeros.
  PackedLinear stacked(const std::vector<std::string>& prefixes, Type type);
  // Two linears as the panels of Act::glu_silu: silu(gate) * value. Outputs that fill the last half panel are zero.
  PackedLinear gated(const std::string& gate, const std::string& value, Type type);
  // Convolution [out, in, kernel, kernel] as taps (row by row) of `in` channels. InputError where those cannot be packed.
  PackedLinear convolution(const std::string& prefix);
  // InputError where `channels` of one tap of a convolution are no whole lanes.
  void need_whole_lanes(const std::string& prefix, int64_t channels) const;
  // Depthwise kernel [channels, 1, kernel, kernel] as [kernel * kernel, channels].
  const float* depthwise(const std::string& name, const std::function<int64_t(int64_t)>& source);

 private:
  const Tensors& tensors_;
  Store& store_;
  Pool::Seat& seat_;
  Type weights_;
};

}  // namespace spar::cpu
