// Every tensor of a model by canonical name, with its shape, and the component that owns it (spec 7.2, 7.3).
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "c_api/model_config.h"

namespace spar::c_api {

using Shape = std::vector<int64_t>;
using NamedShapes = std::vector<std::pair<std::string, Shape>>;

NamedShapes expected(const ModelConfig& config);

// "vision", "language" ... or "host" for what no component reads; empty for a name that is no parameter's.
std::string component_of(const std::string& name);

}  // namespace spar::c_api
