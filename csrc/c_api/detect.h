// What the names and shapes of a checkpoint's tensors say about the model (spec 7.2 to 7.4). Nothing here fails:
// damaged tensors give a wrong or short answer, and the strict check of every name and shape that follows says what is
// wrong.
#pragma once

#include <map>
#include <optional>
#include <string>

#include "c_api/model_config.h"
#include "c_api/shapes.h"

namespace spar::c_api {

class Detected {
 public:
  explicit Detected(const std::map<std::string, Shape>& shapes) : shapes_(shapes) {}

  bool has(const std::string& prefix) const;
  std::optional<int64_t> size(const std::string& name, size_t axis) const;
  // One more than the largest number that directly follows `prefix` in a name.
  std::optional<int64_t> count(const std::string& prefix) const;

  Values vision() const;
  Values language() const;
  Values dit() const;
  Values router() const;
  Values streams() const;
  std::optional<DecoderShape> decoder() const;

 private:
  const std::map<std::string, Shape>& shapes_;
};

}  // namespace spar::c_api
