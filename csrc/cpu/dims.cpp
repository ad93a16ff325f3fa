#include "engine/dims.h"

namespace spar {
namespace {

std::string listed(std::span<const int64_t> shape) {
  std::string text = "[";
  for (size_t axis = 0; axis < shape.size(); ++axis) text += (axis ? ", " : "") + std::to_string(shape[axis]);
  return text + "]";
}

}  // namespace

const Dims::Known* Dims::find(std::string_view axis) const {
  for (const auto& known : known_)
    if (known.axis == axis) return &known;
  return nullptr;
}

void Dims::match(std::string_view argument, std::span<const int64_t> shape,
                 std::initializer_list<std::string_view> axes) {
  const std::string quoted = "`" + std::string(argument) + "`";
  if (shape.size() != axes.size()) {
    std::string wanted;
    for (const auto axis : axes) wanted += (wanted.empty() ? "" : ", ") + std::string(axis);
    fail(quoted + " has shape " + listed(shape) + ", expected [" + wanted + "]");
  }
  size_t index = 0;
  for (const auto axis : axes) {
    const int64_t size = shape[index++];
    const Known* known = find(axis);
    if (known == nullptr) {
      known_.push_back({std::string(axis), quoted, size});
    } else if (known->size != size) {
      fail(quoted + " has " + std::string(axis) + "=" + std::to_string(size) + ", but " + known->origin + " set " +
           std::string(axis) + "=" + std::to_string(known->size));
    }
  }
}

void Dims::set(std::string_view axis, int64_t size, std::string_view origin) {
  known_.push_back({std::string(axis), std::string(origin), size});
}

int64_t Dims::operator[](std::string_view axis) const {
  const Known* known = find(axis);
  if (known == nullptr) throw std::logic_error(op_ + ": no argument names " + std::string(axis));
  return known->size;
}

}  // namespace spar
