// One call from Python, without Python: arrays in device memory and numbers by name, checked as they are asked for.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "engine/cuda.h"
#include "engine/dims.h"

namespace spar::cuda {

enum class Kind { f32, bf16, i32, bytes, e4m3 };

int64_t size_of(Kind kind);

struct Array {
  void* data = nullptr;
  Kind kind = Kind::f32;
  const char* unwritable = nullptr;     // why no result can go here
  std::vector<int64_t> shape, strides;  // strides in elements
  std::shared_ptr<void> lent;           // what its producer wants back after the call
};

using Axes = std::initializer_list<std::string_view>;

class Call {
 public:
  Call(std::string_view op, std::map<std::string, Array> arrays, std::map<std::string, double> numbers, Stream stream)
      : dims(op), stream(stream), arrays_(std::move(arrays)), numbers_(std::move(numbers)) {}

  Dims dims;
  const Stream stream;

  bool given(std::string_view name) const { return arrays_.count(std::string(name)) != 0; }

  // A dense array of one kind. Results must be writable. Null where the array has no elements.
  const float* floats(std::string_view name, Axes axes) {
    return static_cast<const float*>(dense(name, {Kind::f32}, axes).data);
  }
  const uint16_t* halves(std::string_view name, Axes axes) {
    return static_cast<const uint16_t*>(dense(name, {Kind::bf16}, axes).data);
  }
  template <class T>
  T* result(std::string_view name, Kind kind, Axes axes) {
    return static_cast<T*>(writable(name, dense(name, {kind}, axes)).data);
  }

  // A dense result in float8, or in bytes that hold its bits.
  uint8_t* eights(std::string_view name, Axes axes) {
    return static_cast<uint8_t*>(writable(name, dense(name, {Kind::e4m3, Kind::bytes}, axes)).data);
  }

  // A dense array of f32 or bf16; the second form demands the kind of another array.
  Reals reals(std::string_view name, Axes axes);
  void* result_like(std::string_view name, Dtype dtype, Axes axes) {
    return writable(name, dense(name, {dtype == Dtype::bf16 ? Kind::bf16 : Kind::f32}, axes)).data;
  }

  // An array whose last axis is dense and whose other strides are multiples of 16 bytes.
  const Array& rows(std::string_view name, Kind kind, Axes axes);
  const Array& writable(std::string_view name, const Array& array);

  // An array of any strides.
  const Array& any(std::string_view name, std::initializer_list<Kind> kinds, Axes axes);

  // Scratch of at least `bytes`; null where that is 0.
  void* workspace(int64_t bytes);

  double number(std::string_view name, double otherwise);
  double number(std::string_view name);

  // The size of `axis` must be a multiple of kVector.
  void in_eights(std::string_view axis);
  void at_most(std::string_view axis, int64_t largest);

  // Refuses arguments that nothing asked for.
  void done();

 private:
  const Array& dense(std::string_view name, std::initializer_list<Kind> kinds, Axes axes);
  void aligned(std::string_view name, const Array& array);

  std::map<std::string, Array> arrays_;
  std::map<std::string, double> numbers_;
  std::set<std::string> asked_;
};

std::string_view name_of(Kind kind);

// Each file of this folder adds its function with one static Registration.
struct Registration {
  using Run = void (*)(Call&);
  Registration(const char* op, Run run);
};

const std::map<std::string, Registration::Run>& registrations();

}  // namespace spar::cuda
