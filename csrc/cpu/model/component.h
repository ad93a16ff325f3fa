// A component in C++: built from weights by name, run with arrays by name (engine/components.py).
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "model/run.h"
#include "model/store.h"

namespace spar::cpu {

// Shapes of the model, by the names of engine/config/model.py with the part in front: "dit.depth".
class Config {
 public:
  std::map<std::string, double> numbers;
  std::map<std::string, std::vector<int64_t>> lists;

  int64_t whole(const std::string& name) const;
  float real(const std::string& name) const;
  const std::vector<int64_t>& list(const std::string& name) const;
};

class Component {
 public:
  virtual ~Component() = default;
  virtual void run(Run& run, const Inputs& inputs, Outputs& outputs) const = 0;
};

// Builds the named component; InputError for an unknown one.
std::unique_ptr<Component> make_component(const std::string& name, const Config& config, Loader& load);

}  // namespace spar::cpu
