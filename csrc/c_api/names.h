// From the names in a file to canonical names (spec 7.2): several prefixes, three namings of the vision part.
#pragma once

#include <map>
#include <string>
#include <vector>

namespace spar::c_api {

// Canonical name of a tensor; a separate q, k or v of the Hugging Face port keeps its own, under the canonical prefix.
std::string canonical(std::string name);

// Canonical name -> the names in the files whose tensors, stacked along the first axis, make it. CheckpointError,
// naming `where`, when two names mean the same tensor, or one of q, k and v is missing.
std::map<std::string, std::vector<std::string>> normalise(const std::vector<std::string>& names,
                                                          const std::string& where);

// Training-only tensors, which a checkpoint may hold and inference does not read.
bool ignored_name(const std::string& name);

}  // namespace spar::c_api
