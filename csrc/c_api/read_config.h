// The configuration of a checkpoint: its config.json, the sub-models that names, its tensors, and the published models.
#pragma once

#include <map>
#include <string>

#include "c_api/model_config.h"
#include "c_api/shapes.h"

namespace spar::c_api {

// A field of the file wins over what the tensors show, that over a published model of the same geometry.
//
//   tensors       canonical name -> shape of everything in the checkpoint
//   dit_position  "sincos" or "none"; empty: the file's `dit_pos_embed`, else "sincos"
//   errors        ConfigError for an unknown key, a wrong value, a setting that this engine does not compute, and a
//                 contradiction between the file and the tensors
ModelConfig read_config(const std::string& directory, const std::map<std::string, Shape>& tensors,
                        const std::string& dit_position);

}  // namespace spar::c_api
