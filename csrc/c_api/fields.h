// One JSON object of a configuration, read field by field. A value of null counts as absent. Errors are ConfigError.
#pragma once

#include <initializer_list>
#include <limits>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "c_api/json.h"

namespace spar::c_api {

// The JSON object in a file; ConfigError where it is missing, unreadable or no object.
Json load_object(const std::string& path);

class Fields {
 public:
  // `where` names the object in messages; `object` must outlive this.
  Fields(const Json& object, std::string where);

  const std::string& where() const { return where_; }
  const Json* find(std::string_view name) const;  // null where it is absent
  const Json::Object& members() const { return *object_; }
  std::optional<Fields> sub(std::string_view name) const;
  std::optional<int64_t> whole(std::string_view name, int64_t least = 1) const;  // at most 2^53
  std::optional<double> number(std::string_view name,
                               double most = std::numeric_limits<double>::max()) const;  // above 0
  std::optional<bool> flag(std::string_view name) const;
  std::optional<std::string> text(std::string_view name) const;
  std::optional<int64_t> square(std::string_view name) const;  // a side, as a number or two equal ones
  // Refuses every value but null and those whose text in JSON is in `allowed`: the engine computes nothing else.
  void only(std::string_view name, std::initializer_list<std::string_view> allowed) const;
  // Refuses a key that is in none of the lists and does not begin with an underscore.
  void refuse_unknown(std::initializer_list<std::span<const std::string_view>> known,
                      std::span<const std::string_view> prefixes = {}) const;
  [[noreturn]] void fail(std::string_view name, const std::string& wanted) const;

 private:
  const Json* json_;
  const Json::Object* object_;
  std::string where_;
};

}  // namespace spar::c_api
