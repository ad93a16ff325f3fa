// JSON (RFC 8259) read strictly: UTF-8 only, no key twice, bounded depth. `NaN` and `Infinity` are read as numbers,
// because Python and diffusers write them.
#pragma once

#include <cstdint>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace spar::c_api {

struct JsonError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

struct Json {
  using List = std::vector<Json>;
  using Object = std::vector<std::pair<std::string, Json>>;  // in the order of the text
  std::variant<std::monostate, bool, int64_t, double, std::string, List, Object> value;

  template <class T>
  const T* as() const {
    return std::get_if<T>(&value);
  }
  bool null() const { return std::holds_alternative<std::monostate>(value); }
  // The member `name` of an object; null where this is no object or has none.
  const Json* find(std::string_view name) const;
  // "object", "list", "text" ... for messages.
  const char* kind() const;
  // On one line, not longer than one; for messages.
  std::string shown() const;
};

// JsonError says what is wrong and at which byte.
Json parse_json(std::string_view text);

}  // namespace spar::c_api
