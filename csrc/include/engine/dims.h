// Agreement of named dimensions across the arguments of one call.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "engine/error.h"

namespace spar {

class Dims {
 public:
  explicit Dims(std::string_view op) : op_(op) {}

  // The first argument to name a dimension sets it; the others must agree.
  void match(std::string_view argument, std::span<const int64_t> shape, std::initializer_list<std::string_view> axes);

  // A dimension that follows from others; `origin` says how, for the message.
  void set(std::string_view axis, int64_t size, std::string_view origin);

  // The size of a dimension that was matched or set.
  int64_t operator[](std::string_view axis) const;

  // Refuses a call: "op: message".
  [[noreturn]] void fail(const std::string& message) const { throw InputError(op_ + ": " + message); }

 private:
  struct Known {
    std::string axis, origin;
    int64_t size;
  };
  const Known* find(std::string_view axis) const;

  std::string op_;
  std::vector<Known> known_;
};

}  // namespace spar
