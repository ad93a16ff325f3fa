#include "bindings/call.h"

#include <algorithm>

namespace spar::cuda {
namespace {

std::string quoted(std::string_view name) { return "`" + std::string(name) + "`"; }

bool empty(const Array& array) { return std::find(array.shape.begin(), array.shape.end(), 0) != array.shape.end(); }

std::map<std::string, Registration::Run>& registered() {
  static std::map<std::string, Registration::Run> all;
  return all;
}

}  // namespace

int64_t size_of(Kind kind) { return kind == Kind::bytes || kind == Kind::e4m3 ? 1 : kind == Kind::bf16 ? 2 : 4; }

std::string_view name_of(Kind kind) {
  switch (kind) {
    case Kind::f32: return "float32";
    case Kind::bf16: return "bf16";
    case Kind::i32: return "int32";
    case Kind::bytes: return "uint8";
    case Kind::e4m3: return "float8 e4m3";
  }
  return "";
}

Registration::Registration(const char* op, Run run) { registered()[op] = run; }

const std::map<std::string, Registration::Run>& registrations() { return registered(); }

const Array& Call::any(std::string_view name, std::initializer_list<Kind> kinds, Axes axes) {
  const auto found = arrays_.find(std::string(name));
  if (found == arrays_.end()) dims.fail(quoted(name) + " is missing; pass an array on the GPU");
  asked_.insert(found->first);
  const Array& array = found->second;
  dims.match(name, array.shape, axes);
  if (std::find(kinds.begin(), kinds.end(), array.kind) == kinds.end()) {
    std::string wanted;
    for (const Kind kind : kinds) wanted += (wanted.empty() ? "" : " or ") + std::string(name_of(kind));
    dims.fail(quoted(name) + " is " + std::string(name_of(array.kind)) + ", expected " + wanted);
  }
  return array;
}

void Call::aligned(std::string_view name, const Array& array) {
  if (!empty(array) && reinterpret_cast<uintptr_t>(array.data) % 16 != 0)
    dims.fail(quoted(name) + " starts at an address that is no multiple of 16; pass a copy");
}

const Array& Call::dense(std::string_view name, std::initializer_list<Kind> kinds, Axes axes) {
  const Array& array = any(name, kinds, axes);
  int64_t expected = 1;
  for (size_t axis = array.shape.size(); axis-- > 0;) {
    if (!empty(array) && array.shape[axis] > 1 && array.strides[axis] != expected)
      dims.fail(quoted(name) + " is not contiguous; pass a contiguous copy");
    expected *= array.shape[axis];
  }
  aligned(name, array);
  return array;
}

const Array& Call::rows(std::string_view name, Kind kind, Axes axes) {
  const Array& array = any(name, {kind}, axes);
  const size_t last = array.shape.size() - 1;
  bool fits = array.shape[last] <= 1 || array.strides[last] == 1;
  for (size_t axis = 0; axis < last; ++axis)
    fits &= array.shape[axis] <= 1 || array.strides[axis] * size_of(kind) % 16 == 0;
  if (!fits && !empty(array))
    dims.fail(quoted(name) + " is not contiguous along its last axis, or its rows lie no multiple of 16 bytes apart; pass "
              "a contiguous copy");
  aligned(name, array);
  return array;
}

const Array& Call::writable(std::string_view name, const Array& array) {
  if (array.unwritable != nullptr) dims.fail(quoted(name) + " " + array.unwritable);
  return array;
}

Reals Call::reals(std::string_view name, Axes axes) {
  const Array& array = dense(name, {Kind::f32, Kind::bf16}, axes);
  return {array.data, array.kind == Kind::bf16 ? Dtype::bf16 : Dtype::f32};
}

void* Call::workspace(int64_t bytes) {
  if (!given("workspace")) {
    if (bytes > 0) dims.fail("`workspace` is missing; pass an array of " + std::to_string(bytes) + " bytes");
    return nullptr;
  }
  const Array& array = writable("workspace", dense("workspace", {Kind::bytes}, {"bytes"}));
  if (array.shape[0] < bytes)
    dims.fail("`workspace` has " + std::to_string(array.shape[0]) + " bytes, but " + std::to_string(bytes) + " are needed");
  return array.data;
}

double Call::number(std::string_view name, double otherwise) {
  const auto found = numbers_.find(std::string(name));
  if (found == numbers_.end()) return otherwise;
  asked_.insert(found->first);
  return found->second;
}

double Call::number(std::string_view name) {
  if (numbers_.count(std::string(name)) == 0) dims.fail(quoted(name) + " is missing; pass a number");
  return number(name, 0);
}

void Call::in_eights(std::string_view axis) {
  if (dims[axis] % kVector != 0)
    dims.fail(std::string(axis) + "=" + std::to_string(dims[axis]) + " is not a multiple of " + std::to_string(kVector));
}

void Call::at_most(std::string_view axis, int64_t largest) {
  if (dims[axis] > largest)
    dims.fail(std::string(axis) + "=" + std::to_string(dims[axis]) + "; at most " + std::to_string(largest) +
              " are supported");
}

void Call::done() {
  const auto check = [&](const std::string& name) {
    if (asked_.count(name) == 0) dims.fail("argument " + quoted(name) + " is unknown, or not used in this combination");
  };
  for (const auto& [name, array] : arrays_) check(name);
  for (const auto& [name, value] : numbers_) check(name);
}

}  // namespace spar::cuda
