#include "c_api/checkpoint.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "c_api/error.h"
#include "c_api/fields.h"
#include "c_api/names.h"
#include "c_api/read_config.h"

namespace spar::c_api {
namespace {

const char* const kSingle = "model.safetensors";
const char* const kIndex = "model.safetensors.index.json";
const std::set<std::string> kAll = {"vision",     "language", "lm_head", "condition", "context",
                                    "modulation", "dit",      "streams", "decoder"};

std::string shape_text(const Shape& shape) {
  std::string text = "[";
  for (size_t i = 0; i < shape.size(); ++i) text += (i ? ", " : "") + std::to_string(shape[i]);
  return text + "]";
}

}  // namespace

Checkpoint::Checkpoint(const std::string& directory, const std::string& dit_position) : directory_(directory) {
  open_files();
  find_parameters();
  std::map<std::string, Shape> shapes;
  for (const auto& [name, parameter] : parameters_) shapes[name] = parameter.shape;
  config_ = read_config(directory, shapes, dit_position);
  find_parts();
  check_tensors();
}

void Checkpoint::open_files() {
  const std::string single = directory_ + "/" + kSingle, index = directory_ + "/" + kIndex;
  if (!is_directory(directory_)) throw CheckpointError(directory_ + ": no such directory; give a checkpoint directory");
  const bool one = is_file(single), many = is_file(index);
  if (one && many)
    throw CheckpointError(directory_ + ": holds both " + kSingle + " and " + kIndex +
                          "; remove the one that is out of date");
  if (!one && !many)
    throw CheckpointError(directory_ + ": holds neither " + kSingle + " nor " + kIndex +
                          "; give a checkpoint directory (pickles: spar-export convert)");
  if (one)
    files_.push_back(std::make_unique<SafetensorsFile>(single));
  else
    open_shards(index);
}

void Checkpoint::open_shards(const std::string& index) {
  Json json;
  try {
    json = load_object(index);
  } catch (const ConfigError& error) {
    throw CheckpointError(error.what());
  }
  const Json* map = json.find("weight_map");
  const auto* listed = map ? map->as<Json::Object>() : nullptr;
  std::map<std::string, std::set<std::string>> shards;
  for (const auto& [name, shard] : listed ? *listed : Json::Object{})
    if (const auto* file = shard.as<std::string>())
      shards[*file].insert(name);
    else
      listed = nullptr;
  if (!listed || shards.empty())
    throw CheckpointError(index + ": weight_map must map tensor names to file names; download it again");
  for (const auto& [shard, promised] : shards) {
    if (shard.empty() || shard == "." || shard == ".." || shard.find('/') != std::string::npos ||
        shard.find('\0') != std::string::npos)
      throw CheckpointError(index + ": names '" + shard + "', which is not a file of this directory");
    if (!is_file(directory_ + "/" + shard))
      throw CheckpointError(index + ": names '" + shard + "', which is missing; download it");
    files_.push_back(std::make_unique<SafetensorsFile>(directory_ + "/" + shard));
    std::set<std::string> held;
    for (const auto& [name, info] : files_.back()->tensors()) {
      if (!promised.count(name))
        throw CheckpointError(files_.back()->path() + ": holds `" + name +
                              "`, which the index does not place there; download both again");
      held.insert(name);
    }
    for (const std::string& name : promised)
      if (!held.count(name))
        throw CheckpointError(index + ": says that `" + name + "` is in " + shard +
                              ", which does not hold it; download both again");
  }
}

void Checkpoint::find_parameters() {
  std::map<std::string, Piece> places;
  std::vector<std::string> names;
  for (const auto& file : files_)
    for (const auto& [name, info] : file->tensors()) {
      places[name] = {file.get(), &info};
      names.push_back(name);
    }
  for (const auto& [ours, pieces] : normalise(names, directory_)) {
    if (ignored_name(ours)) continue;
    Parameter made{};
    for (const std::string& name : pieces) made.pieces.push_back(places.at(name));
    const TensorInfo& first = *made.pieces[0].info;
    made.dtype = first.dtype;
    made.shape = first.shape;
    for (size_t i = 1; i < made.pieces.size(); ++i) {
      const TensorInfo& other = *made.pieces[i].info;
      if (made.shape.empty() || other.dtype_name != first.dtype_name || other.shape.size() != made.shape.size() ||
          !std::equal(other.shape.begin() + 1, other.shape.end(), made.shape.begin() + 1) ||
          __builtin_add_overflow(made.shape[0], other.shape[0], &made.shape[0]))
        throw CheckpointError(directory_ + ": the parts of `" + ours + "` do not fit together");
    }
    parameters_.emplace(ours, std::move(made));
  }
}

void Checkpoint::find_parts() {
  const auto holds = [&](const char* prefix) {
    const auto place = parameters_.lower_bound(prefix);
    return place != parameters_.end() && place->first.starts_with(prefix);
  };
  parts_ = kAll;
  if (holds("model.dit.") || holds("model.latent_queries") || holds("model.llm_connector.") ||
      holds("model.projector."))
    return;
  const bool coder = holds("model.vae_decoder."), language = holds("model.language_model.");
  if (coder && !language && !holds("lm_head.")) parts_ = {"vision", "streams", "decoder"};
  if (language && !coder) parts_ = {"vision", "language", "lm_head"};
}

void Checkpoint::check_tensors() const {
  std::map<std::string, std::vector<std::string>> faults;
  std::set<std::string> wanted;
  for (const auto& [name, shape] : expected(config_)) {
    const std::string owner = component_of(name);
    const bool host = owner == "host" && (name == "model.latent_queries" ? has("condition") : has("language"));
    if (!host && !has(owner)) continue;
    wanted.insert(name);
    const auto place = parameters_.find(name);
    if (place == parameters_.end()) {
      faults["missing"].push_back("`" + name + "`");
    } else if (place->second.shape != shape) {
      faults["mis-shaped"].push_back("`" + name + "` is " + shape_text(place->second.shape) + ", expected " +
                                     shape_text(shape));
    } else if (place->second.dtype == Dtype::other) {
      faults["not of a float type"].push_back("`" + name + "` is " + place->second.pieces[0].info->dtype_name);
    }
  }
  for (const auto& [name, parameter] : parameters_)
    if (!wanted.count(name)) faults["unknown"].push_back("`" + name + "`");
  if (faults.empty()) return;
  std::string text;
  for (const auto& [what, found] : faults) {
    text += (text.empty() ? "" : "; ") + std::to_string(found.size()) + " " + what + ": ";
    for (size_t i = 0; i < std::min<size_t>(found.size(), 4); ++i) text += (i ? ", " : "") + found[i];
    if (found.size() > 4) text += " and " + std::to_string(found.size() - 4) + " more";
  }
  throw CheckpointError(directory_ + ": the tensors are not those of the model in config.json; " + text +
                        "; use the files that belong together");
}

std::vector<std::string> Checkpoint::needed(const std::string& component) const {
  std::vector<std::string> names;
  for (const auto& [name, parameter] : parameters_) {
    const std::string owner = component_of(name);
    // The values' bias is part of the step's output bias (E14).
    if (owner == component || (component == "dit" && owner == "context" && name.ends_with(".attn2.to_v.bias")))
      names.push_back(name);
  }
  if (names.empty() || !has(component))
    throw BackendError("the weights at " + directory_ + " hold nothing of component '" + component +
                       "'; use a whole model");
  return names;
}

void Checkpoint::check_finite(const std::string& name, const Parameter& parameter) const {
  std::vector<float> some(1 << 16);
  for (const Piece& piece : parameter.pieces) {
    const int64_t count = piece.info->count(), step = bytes_of(parameter.dtype);
    for (int64_t at = 0; at < count; at += static_cast<int64_t>(some.size())) {
      const int64_t size = std::min<int64_t>(count - at, static_cast<int64_t>(some.size()));
      read_floats(piece.file->data(*piece.info) + at * step, parameter.dtype, size, some.data());
      bool finite = true;
      for (int64_t i = 0; i < size; ++i) finite &= std::isfinite(some[static_cast<size_t>(i)]);
      if (!finite)
        throw CheckpointError(piece.file->path() + ": `" + name + "` holds NaN or infinity; the weights are damaged");
    }
  }
}

Checkpoint::Borrowed Checkpoint::borrow(const std::string& component) const {
  Borrowed made;
  for (const std::string& name : needed(component)) {
    const Parameter& parameter = parameters_.at(name);
    check_finite(name, parameter);
    int64_t count = 1;
    for (const int64_t size : parameter.shape) count *= size;
    cpu::Tensor tensor;
    tensor.shape = parameter.shape;
    const bool plain = parameter.dtype == Dtype::f32 || parameter.dtype == Dtype::bf16 || parameter.dtype == Dtype::f16;
    if (plain && parameter.pieces.size() == 1) {
      const Piece& piece = parameter.pieces[0];
      tensor.data = piece.file->data(*piece.info);
      tensor.type = parameter.dtype == Dtype::f32    ? cpu::Stored::f32
                    : parameter.dtype == Dtype::bf16 ? cpu::Stored::bf16
                                                     : cpu::Stored::f16;
    } else {
      made.kept.emplace_back(static_cast<size_t>(count));
      read(name, 0, count, made.kept.back().data());
      tensor.data = made.kept.back().data();
    }
    made.elements += static_cast<size_t>(count);
    made.tensors[name] = std::move(tensor);
  }
  return made;
}

void Checkpoint::read(const std::string& name, int64_t first, int64_t count, float* to) const {
  const Parameter& parameter = parameters_.at(name);
  for (const Piece& piece : parameter.pieces) {
    const int64_t held = piece.info->count(), from = std::clamp<int64_t>(first, 0, held),
                  until = std::clamp<int64_t>(first + count, 0, held);
    read_floats(piece.file->data(*piece.info) + from * bytes_of(parameter.dtype), parameter.dtype, until - from, to);
    to += until - from;
    first -= held;
  }
}

}  // namespace spar::c_api
