// One call of a component: its tools, its inputs and outputs, and the operations that every component is made of.
#pragma once

#include <atomic>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "core/product.h"

namespace spar::cpu {

struct CrossContext;
struct Cache;

using Shape = std::vector<int64_t>;

// An array from outside: f32, or int64 where `whole` is set; or a value of ours from an earlier call.
struct Input {
  const float* f32 = nullptr;
  const int64_t* whole = nullptr;
  Shape shape;
  std::vector<std::shared_ptr<const CrossContext>> crosses;  // the branches of one after those of the other
  std::shared_ptr<Cache> cache;
  int64_t cached = 0;  // tokens of `cache` that this value holds
};

struct Output {
  std::unique_ptr<float[]> data;
  Shape shape;
};

using Inputs = std::map<std::string, Input>;

struct Outputs {
  std::map<std::string, Output> arrays;
  std::shared_ptr<const CrossContext> cross;
  std::shared_ptr<Cache> cache;
  int64_t cached = 0;

  float* make(const std::string& name, Shape shape);
};

// Asked for between blocks: the caller no longer wants the result.
struct Stopped {};

class Run {
 public:
  Run(const Kernels& kernels, Pool::Seat& seat, Arena& arena, Type activations, const std::atomic<bool>* cancelled,
      Outputs* taps)
      : kernels(kernels), seat(seat), arena(arena), activations(activations), cancelled_(cancelled), taps_(taps) {}

  const Kernels& kernels;
  Pool::Seat& seat;
  Arena& arena;
  const Type activations;  // f32 or bf16: between the residual stream, which is f32, and the next product

  void check_cancelled() const {
    if (cancelled_ && cancelled_->load(std::memory_order_relaxed)) throw Stopped{};
  }
  bool tapping() const { return taps_ != nullptr; }
  // Keeps rows [rows, width] as a named array of `shape`; with `picture` as [n, width, height, width_of_picture].
  void tap(const std::string& name, const View& rows, int64_t width, Shape shape) const;
  void tap_picture(const std::string& name, const View& rows, int64_t pictures, int64_t pixels, int64_t width,
                   Shape shape) const;

  View f32(int64_t rows, int64_t width) { return arena.matrix(Type::f32, rows, width); }
  View act(int64_t rows, int64_t width) { return arena.matrix(activations, rows, width); }

  // Rows of f32 or bf16, quantised first where w is int8 or in 4 bits.
  void linear(const PackedLinear& w, const View& x, int64_t rows, const Epilogue& end, const Taps* taps = nullptr);
  void linear(const PackedLinear& w, const View& x, int64_t rows, const View& out, Act act = Act::none);
  // Norm, then product: the norm writes what w reads.
  void norm_linear(const Norm& norm, const PackedLinear& w, int64_t rows, const Epilogue& end);
  void norm(const Norm& norm, int64_t rows);
  void attention(const Attention& attention);
  // f32 rows as activations, and back.
  void convert(const View& from, const View& to, int64_t rows, int64_t width);

  // body(index, worker) for every index, in `grain`s.
  template <class Body>
  void each(int64_t count, const Body& body) {
    seat.each(count, body);
  }
  template <class Body>
  void each_rows(int64_t rows, int64_t grain, const Body& body) {
    seat.each(ceil_div(rows, grain), [&](int64_t i, int worker) { body(i * grain, std::min(grain, rows - i * grain), worker); });
  }

 private:
  static void clear_padding(const PackedLinear& w, const View& x, int64_t rows);
  // Arena memory for `rows` rows as a quantised product with `w` reads them.
  Quantize quantized(const PackedLinear& w, int64_t rows);

  const std::atomic<bool>* cancelled_;
  Outputs* taps_;
};

}  // namespace spar::cpu
