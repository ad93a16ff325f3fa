#include "c_api/parts_config.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "c_api/error.h"
#include "c_api/tables/known_keys.h"

namespace spar::c_api {
namespace {

constexpr double kRequired = std::numeric_limits<double>::quiet_NaN();
constexpr Field kLanguage[] = {{"vocab_size", "vocab_size", kRequired},
                               {"width", "hidden_size", kRequired},
                               {"depth", "num_hidden_layers", kRequired},
                               {"heads", "num_attention_heads", kRequired},
                               {"kv_heads", "num_key_value_heads", kRequired},
                               {"mlp_width", "intermediate_size", kRequired},
                               {"rope_theta", "rope_theta", 1e6},
                               {"eps", "rms_norm_eps", 1e-6},
                               {"max_positions", "max_position_embeddings", 32768}};
constexpr Field kVision[] = {{"width", "hidden_size", kRequired},
                             {"depth", "num_hidden_layers", kRequired},
                             {"heads", "num_attention_heads", kRequired},
                             {"mlp_width", "intermediate_size", kRequired},
                             {"image_size", "image_size", kRequired},
                             {"patch_size", "patch_size", kRequired},
                             {"eps", "layer_norm_eps", 1e-6}};
constexpr Field kDit[] = {{"depth", "num_layers", kRequired},
                          {"heads", "num_attention_heads", kRequired},
                          {"head_dim", "attention_head_dim", kRequired},
                          {"cross_heads", "num_cross_attention_heads", kRequired},
                          {"cross_head_dim", "cross_attention_head_dim", kRequired},
                          {"caption_width", "caption_channels", kRequired},
                          {"sample_size", "sample_size", kRequired},
                          {"mlp_ratio", "mlp_ratio", 2.5},
                          {"in_channels", "in_channels", 32},
                          {"out_channels", "out_channels", 32},
                          {"patch_size", "patch_size", 1},
                          {"eps", "norm_eps", 1e-6}};

std::vector<std::string_view> keys_of(std::span<const Field> spec) {
  std::vector<std::string_view> keys;
  for (const Field& field : spec) keys.push_back(field.key);
  return keys;
}

Values numbers(const Fields& fields, std::span<const Field> spec) {
  Values found;
  for (const Field& field : spec) {
    const std::string_view name = field.name;
    if (name == "image_size" || (name == "patch_size" && spec.data() == kVision)) {
      if (const auto side = fields.square(field.key)) found[field.name] = static_cast<double>(*side);
    } else if (name == "rope_theta" || name == "eps" || name == "mlp_ratio") {
      if (const auto number = fields.number(field.key)) found[field.name] = *number;
    } else if (const auto number = fields.whole(field.key)) {
      found[field.name] = static_cast<double>(*number);
    }
  }
  return found;
}

template <size_t n>
std::span<const std::string_view> more(const std::string_view (&keys)[n]) {
  return keys;
}

}  // namespace

std::span<const Field> language_spec() { return kLanguage; }
std::span<const Field> vision_spec() { return kVision; }
std::span<const Field> dit_spec() { return kDit; }

Values language_fields(const Fields& fields) {
  static constexpr std::string_view also[] = {"hidden_act",  "use_sliding_window", "rope_scaling",   "rope_parameters",
                                              "layer_types", "head_dim",           "attention_bias", "moe_config"};
  fields.refuse_unknown({kTextKeys, keys_of(kLanguage), more(also)});
  fields.only("hidden_act", {"'silu'"});
  fields.only("use_sliding_window", {"false"});
  fields.only("attention_bias", {"true"});
  fields.only("moe_config", {});
  Values given = numbers(fields, kLanguage);
  for (const char* key : {"rope_scaling", "rope_parameters"})
    if (const auto entry = fields.sub(key)) {
      for (const char* type : {"type", "rope_type"}) entry->only(type, {"'dynamic'", "'default'"});
      if (const auto theta = entry->number("rope_theta")) given["rope_theta"] = *theta;
    }
  if (const Json* types = fields.find("layer_types")) {
    const auto* list = types->as<Json::List>();
    const auto full = [](const Json& kind) {
      return kind.as<std::string>() && *kind.as<std::string>() == "full_attention";
    };
    if (!list || !std::all_of(list->begin(), list->end(), full))
      fields.fail("layer_types", "is not supported; all must be 'full_attention'");
  }
  const auto dim = fields.whole("head_dim");
  if (dim && given.count("width") && given.count("heads"))
    agree(fields.where(), "head_dim", static_cast<double>(*dim),
          static_cast<double>(given.whole("width") / given.whole("heads")));
  return given;
}

Values vision_fields(const Fields& fields) {
  static constexpr std::string_view also[] = {
      "hidden_act",     "norm_type", "use_qk_norm",  "qk_normalization",
      "attention_bias", "qkv_bias",  "num_channels", "use_absolute_position_embeddings",
      "use_mask_token", "use_moe"};
  fields.refuse_unknown({kVisionKeys, keys_of(kVision), more(also)});
  fields.only("hidden_act", {"'gelu'"});
  fields.only("norm_type", {"'layer_norm'"});
  fields.only("num_channels", {"3"});
  for (const char* key : {"use_qk_norm", "qk_normalization", "use_mask_token", "use_moe"}) fields.only(key, {"false"});
  for (const char* key : {"attention_bias", "qkv_bias", "use_absolute_position_embeddings"}) fields.only(key, {"true"});
  return numbers(fields, kVision);
}

Values dit_fields(const Fields& fields) {
  static constexpr std::string_view also[] = {"attention_bias",
                                              "cross_attention_dim",
                                              "norm_elementwise_affine",
                                              "interpolation_scale",
                                              "guidance_embeds",
                                              "guidance_embeds_scale",
                                              "qk_norm",
                                              "timestep_scale"};
  fields.refuse_unknown({kDitKeys, keys_of(kDit), more(also)});
  fields.only("_class_name", {"'SanaTransformer2DModel'"});
  for (const char* key : {"attention_bias", "norm_elementwise_affine", "guidance_embeds"}) fields.only(key, {"false"});
  for (const char* key : {"interpolation_scale", "timestep_scale"}) fields.only(key, {"1"});
  fields.only("qk_norm", {});
  return numbers(fields, kDit);
}

SamplerShape read_sampler(const Fields& fields) {
  const std::string kind = fields.text("_class_name").value_or("");
  const bool euler = kind == "FlowMatchEulerDiscreteScheduler";
  if (!euler && kind != "DPMSolverMultistepScheduler")
    fields.fail("_class_name",
                "is not supported; this engine has DPMSolverMultistepScheduler and FlowMatchEulerDiscreteScheduler");
  static constexpr std::string_view never[] = {"use_karras_sigmas", "use_exponential_sigmas", "use_beta_sigmas",
                                               "use_dynamic_shifting"};
  static constexpr std::string_view of_dpm[] = {
      "algorithm_type",         "solver_order",       "solver_type",         "prediction_type", "use_flow_sigmas",
      "final_sigmas_type",      "lower_order_final",  "euler_at_final",      "thresholding",    "use_lu_lambdas",
      "rescale_betas_zero_snr", "lambda_min_clipped", "num_train_timesteps", "flow_shift"};
  static constexpr std::string_view of_euler[] = {"invert_sigmas", "stochastic_sampling", "shift_terminal",
                                                  "num_train_timesteps", "shift"};
  fields.refuse_unknown({kSamplerKeys, more(never), euler ? more(of_euler) : more(of_dpm)});
  for (const std::string_view key : never) fields.only(key, {"false"});
  const char* name = euler ? "shift" : "flow_shift";
  const auto shift = fields.number(name);
  if (!shift) throw ConfigError(fields.where() + ": lacks '" + name + "'; add it (3.0 for the published models)");
  const SamplerShape made{euler, *shift, fields.whole("num_train_timesteps").value_or(1000)};
  if (euler) {
    for (const char* key : {"invert_sigmas", "stochastic_sampling"}) fields.only(key, {"false"});
    fields.only("shift_terminal", {});
    return made;
  }
  fields.only("algorithm_type", {"'dpmsolver++'"});
  fields.only("solver_order", {"2"});
  fields.only("solver_type", {"'midpoint'"});
  fields.only("prediction_type", {"'flow_prediction'"});
  fields.only("final_sigmas_type", {"'zero'"});
  fields.only("lambda_min_clipped", {"-inf"});
  for (const char* key : {"use_flow_sigmas", "lower_order_final"}) fields.only(key, {"true"});
  for (const char* key : {"euler_at_final", "thresholding", "use_lu_lambdas", "rescale_betas_zero_snr"})
    fields.only(key, {"false"});
  for (const char* key :
       {"prediction_type", "use_flow_sigmas"})  // diffusers takes another meaning where these are absent
    if (!fields.find(key)) throw ConfigError(fields.where() + ": lacks '" + key + "'; add it");
  return made;
}

namespace {

// The entries of a list with one a stage; a single text or number stands for all. Empty where the key is absent.
std::vector<const Json*> per_stage(const Fields& fields, const char* key, size_t stages, bool nested) {
  const Json* value = fields.find(key);
  if (!value) return {};
  const auto* list = value->as<Json::List>();
  if (!list && !nested && stages) return std::vector<const Json*>(stages, value);
  if (!list || list->empty()) fields.fail(key, "must be a list with one entry a stage");
  if (stages && list->size() != stages)
    fields.fail(key,
                "has " + std::to_string(list->size()) + " entries, the decoder " + std::to_string(stages) + " stages");
  std::vector<const Json*> found;
  for (const Json& item : *list) found.push_back(&item);
  return found;
}

std::vector<int64_t> whole_per_stage(const Fields& fields, const char* key, size_t stages) {
  std::vector<int64_t> found;
  for (const Json* item : per_stage(fields, key, stages, false)) {
    const auto* number = item->as<int64_t>();
    if (!number) fields.fail(key, "must be a list with one whole number a stage");
    found.push_back(*number);
  }
  return found;
}

}  // namespace

DecoderShape decoder_fields(const Fields& fields, size_t stages) {
  static constexpr std::string_view also[] = {
      "decoder_block_out_channels", "decoder_layers_per_block", "decoder_block_types", "decoder_qkv_multiscales",
      "attention_head_dim",         "latent_channels",          "decoder_act_fns",     "decoder_norm_types",
      "upsample_block_type",        "decoder_in_shortcut",      "decoder_conv_act_fn"};
  fields.refuse_unknown({kDecoderKeys, more(also)});
  fields.only("_class_name", {"'AutoencoderDC'"});
  fields.only("upsample_block_type", {"'interpolate'"});
  fields.only("decoder_in_shortcut", {"true"});
  fields.only("decoder_conv_act_fn", {"'relu'"});
  DecoderShape found;
  found.channels = whole_per_stage(fields, "decoder_block_out_channels", 0);
  if (!found.channels.empty()) stages = found.channels.size();
  found.depths = whole_per_stage(fields, "decoder_layers_per_block", stages);
  for (const Json* kind : per_stage(fields, "decoder_block_types", stages, false)) {
    const std::string name = kind->shown();
    if (name != "'ResBlock'" && name != "'EfficientViTBlock'")
      fields.fail("decoder_block_types", "is not supported; known are EfficientViTBlock and ResBlock");
    found.attention.push_back(name == "'EfficientViTBlock'");
  }
  for (const Json* kernels : per_stage(fields, "decoder_qkv_multiscales", stages, true)) {
    std::vector<int64_t> sizes;
    const auto* list = kernels->as<Json::List>();
    for (const Json& kernel : list ? *list : Json::List{})
      if (const auto* size = kernel.as<int64_t>(); size && *size >= 1) sizes.push_back(*size);
    if (!list || sizes.size() != list->size())
      fields.fail("decoder_qkv_multiscales", "must hold lists of kernel sizes");
    const size_t stage = found.scales.size();
    found.scales.push_back(stage < found.attention.size() && !found.attention[stage] ? std::vector<int64_t>{} : sizes);
  }
  for (const Json* kind : per_stage(fields, "decoder_act_fns", stages, false))
    if (kind->shown() != "'silu'") fields.fail("decoder_act_fns", "is not supported; this engine computes 'silu'");
  for (const Json* kind : per_stage(fields, "decoder_norm_types", stages, false))
    if (kind->shown() != "'rms_norm'")
      fields.fail("decoder_norm_types", "is not supported; this engine computes 'rms_norm'");
  found.head_dim = fields.whole("attention_head_dim").value_or(0);
  found.latent_channels = fields.whole("latent_channels").value_or(0);
  return found;
}

void agree(const std::string& where, const std::string& key, std::optional<double> given, std::optional<double> told) {
  if (given && told && *given != *told)
    throw ConfigError(where + ": " + key + "=" + Json{*given}.shown() + ", but the tensors have " +
                      Json{*told}.shown() + "; correct the file or use the one that belongs to these weights");
}

Values merge(const std::string& where, std::span<const Field> spec, const Values& given, const Values& told,
             const Values* base, std::initializer_list<std::string_view> checked) {
  const auto in = [](const Values& values, const char* name) -> std::optional<double> {
    const auto place = values.find(name);
    return place == values.end() ? std::nullopt : std::optional(place->second);
  };
  Values made;
  for (const Field& field : spec) {
    const auto file = in(given, field.name), tensors = in(told, field.name);
    if (std::find(checked.begin(), checked.end(), field.name) != checked.end()) agree(where, field.key, file, tensors);
    const auto published = base ? in(*base, field.name) : std::nullopt;
    const double value = file ? *file : tensors ? *tensors : published ? *published : field.fallback;
    if (std::isnan(value))
      throw ConfigError(where + ": lacks '" + field.key +
                        "', which neither the tensors nor a published model of this size give; add it");
    made[field.name] = value;
  }
  return made;
}

}  // namespace spar::c_api
