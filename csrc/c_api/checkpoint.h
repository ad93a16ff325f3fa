// A checkpoint directory: its configuration and every parameter by canonical name, read from the mapped files when
// asked.
#pragma once

#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "c_api/model_config.h"
#include "c_api/safetensors.h"
#include "c_api/shapes.h"
#include "model/store.h"

namespace spar::c_api {

class Checkpoint {
 public:
  // Opens single or sharded safetensors with their config.json. Every tensor of the files and every parameter of the
  // model is accounted for by name, shape and type; else CheckpointError or ConfigError.
  Checkpoint(const std::string& directory, const std::string& dit_position);

  const std::string& directory() const { return directory_; }
  const ModelConfig& config() const { return config_; }
  // Whether the files hold a component; an image tokenizer alone and a stock InternVL3 do not hold all.
  bool has(const std::string& component) const { return parts_.count(component) != 0; }

  // What a component is packed from: `kept` owns what is not in a file as the packer reads it.
  struct Borrowed {
    cpu::Tensors tensors;
    std::vector<std::vector<float>> kept;
    size_t elements = 0;
  };
  // CheckpointError for a parameter that holds a NaN or an infinity.
  Borrowed borrow(const std::string& component) const;

  // Elements first .. first + count of a parameter.
  void read(const std::string& name, int64_t first, int64_t count, float* to) const;

 private:
  struct Piece {
    const SafetensorsFile* file;
    const TensorInfo* info;
  };
  struct Parameter {
    Dtype dtype;
    Shape shape;
    std::vector<Piece> pieces;  // stacked along the first axis
  };
  void open_files();
  void open_shards(const std::string& index);
  void find_parameters();
  void check_tensors() const;
  void find_parts();
  std::vector<std::string> needed(const std::string& component) const;
  void check_finite(const std::string& name, const Parameter& parameter) const;

  std::string directory_;
  std::vector<std::unique_ptr<SafetensorsFile>> files_;
  std::map<std::string, Parameter> parameters_;
  ModelConfig config_;
  std::set<std::string> parts_;
};

}  // namespace spar::c_api
