#include "c_api/fields.h"

#include <algorithm>
#include <cmath>

#include "c_api/error.h"
#include "c_api/mapped.h"

namespace spar::c_api {

Json load_object(const std::string& path) {
  try {
    const Mapped file(path);
    Json made = parse_json(file.bytes());
    if (!made.as<Json::Object>()) throw ConfigError(path + ": is a JSON " + made.kind() + ", not an object");
    return made;
  } catch (const JsonError& error) {
    throw ConfigError(path + ": is not JSON (" + error.what() + "); correct or download it again");
  } catch (const CheckpointError& error) {
    throw ConfigError(error.what());
  }
}

Fields::Fields(const Json& object, std::string where)
    : json_(&object), object_(object.as<Json::Object>()), where_(std::move(where)) {
  if (!object_) throw ConfigError(where_ + ": is " + object.shown() + ", not an object");
}

void Fields::fail(std::string_view name, const std::string& wanted) const {
  const Json* value = json_->find(name);
  throw ConfigError(where_ + ": " + std::string(name) + "=" + (value ? value->shown() : "null") + " " + wanted);
}

const Json* Fields::find(std::string_view name) const {
  const Json* value = json_->find(name);
  return value && !value->null() ? value : nullptr;
}

std::optional<Fields> Fields::sub(std::string_view name) const {
  const Json* value = find(name);
  if (!value) return {};
  return Fields(*value, where_ + ": " + std::string(name));
}

std::optional<int64_t> Fields::whole(std::string_view name, int64_t least) const {
  const Json* value = find(name);
  if (!value) return {};
  const auto* number = value->as<int64_t>();
  if (!number || *number < least || *number > int64_t{1} << 53)
    fail(name, "must be a whole number of at least " + std::to_string(least));
  return *number;
}

std::optional<double> Fields::number(std::string_view name, double most) const {
  const Json* value = find(name);
  if (!value) return {};
  double found = std::nan("");
  if (const auto* exact = value->as<int64_t>()) found = static_cast<double>(*exact);
  if (const auto* real = value->as<double>()) found = *real;
  if (!(found > 0 && found <= most)) fail(name, "must be a finite number greater than 0 that is not too large");
  return found;
}

std::optional<bool> Fields::flag(std::string_view name) const {
  const Json* value = find(name);
  if (!value) return {};
  const auto* found = value->as<bool>();
  if (!found) fail(name, "must be true or false");
  return *found;
}

std::optional<std::string> Fields::text(std::string_view name) const {
  const Json* value = find(name);
  if (!value) return {};
  const auto* found = value->as<std::string>();
  if (!found) fail(name, "must be text");
  return *found;
}

std::optional<int64_t> Fields::square(std::string_view name) const {
  const Json* value = find(name);
  const auto* pair = value ? value->as<Json::List>() : nullptr;
  if (!pair) return whole(name);
  const auto* first = pair->size() == 2 ? (*pair)[0].as<int64_t>() : nullptr;
  const auto* second = first ? (*pair)[1].as<int64_t>() : nullptr;
  if (!second || *first != *second || *first < 1 || *first > int64_t{1} << 53)
    fail(name, "must be square; this family has no other");
  return *first;
}

void Fields::only(std::string_view name, std::initializer_list<std::string_view> allowed) const {
  const Json* value = find(name);
  if (!value || std::find(allowed.begin(), allowed.end(), value->shown()) != allowed.end()) return;
  std::string choices;
  for (const auto one : allowed) choices += (choices.empty() ? "" : " or ") + std::string(one);
  fail(name, "is not supported; " + (choices.empty() ? "it must be null" : "this engine computes " + choices));
}

void Fields::refuse_unknown(std::initializer_list<std::span<const std::string_view>> known,
                            std::span<const std::string_view> prefixes) const {
  for (const auto& [key, value] : *object_) {
    const auto is = [&](const auto& list) { return std::find(list.begin(), list.end(), key) != list.end(); };
    if (key.starts_with("_") || std::any_of(known.begin(), known.end(), is)) continue;
    if (std::any_of(prefixes.begin(), prefixes.end(), [&](std::string_view prefix) { return key.starts_with(prefix); }))
      continue;
    throw ConfigError(where_ + ": unknown key '" + key.substr(0, 80) + "'; correct its name or remove it");
  }
}

}  // namespace spar::c_api
