// Readers of the parts of a configuration: language model, vision tower, DiT, decoder, sampler.
#pragma once

#include <span>
#include <string_view>

#include "c_api/fields.h"
#include "c_api/model_config.h"

namespace spar::c_api {

// A field of a part, its key in the file, and its value where no source gives one; NaN: it is required.
struct Field {
  const char* name;
  const char* key;
  double fallback;
};
std::span<const Field> language_spec();
std::span<const Field> vision_spec();
std::span<const Field> dit_spec();

// What an object gives of a part; what is absent is left out. Unknown keys and settings of another model are refused.
Values language_fields(const Fields& fields);
Values vision_fields(const Fields& fields);
Values dit_fields(const Fields& fields);
SamplerShape read_sampler(const Fields& fields);

// The decoder's fields; what is absent is empty (0 for numbers). `stages` of the tensors, 0 when unknown.
DecoderShape decoder_fields(const Fields& fields, size_t stages);

// One part from its sources: file, tensors, published model (null: none), fallback. ConfigError for a required field
// that none gives, and where the file and the tensors differ in a field of `checked`.
Values merge(const std::string& where, std::span<const Field> spec, const Values& given, const Values& told,
             const Values* base, std::initializer_list<std::string_view> checked);
// ConfigError when both tell and differ.
void agree(const std::string& where, const std::string& key, std::optional<double> given, std::optional<double> told);

}  // namespace spar::c_api
