#include "model/component.h"

#include "engine/error.h"
#include "model/decoder.h"
#include "model/dit.h"
#include "model/guidance.h"
#include "model/language.h"
#include "model/vision.h"

namespace spar::cpu {

int64_t Config::whole(const std::string& name) const { return static_cast<int64_t>(numbers.at(name)); }
float Config::real(const std::string& name) const { return static_cast<float>(numbers.at(name)); }
const std::vector<int64_t>& Config::list(const std::string& name) const { return lists.at(name); }

std::unique_ptr<Component> make_component(const std::string& name, const Config& config, Loader& load) {
  if (name == "vision") return std::make_unique<Vision>(config, load);
  if (name == "language") return std::make_unique<Language>(config, load);
  if (name == "lm_head") return std::make_unique<LmHead>(config, load);
  if (name == "condition") return std::make_unique<Condition>(config, load);
  if (name == "context") return std::make_unique<Context>(config, load);
  if (name == "modulation") return std::make_unique<Modulation>(config, load);
  if (name == "dit") return std::make_unique<Dit>(config, load);
  if (name == "streams") return std::make_unique<Streams>(config, load);
  if (name == "decoder") return std::make_unique<Decoder>(config, load);
  throw InputError("native: component " + name + " is unknown");
}

}  // namespace spar::cpu
