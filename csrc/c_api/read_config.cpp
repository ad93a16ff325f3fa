#include "c_api/read_config.h"

#include <cmath>

#include "c_api/detect.h"
#include "c_api/error.h"
#include "c_api/mapped.h"
#include "c_api/parts_config.h"
#include "c_api/tables/known_keys.h"
#include "c_api/tables/presets.h"

namespace spar::c_api {
namespace {

using Described = std::vector<std::pair<std::string, Values>>;  // descriptions of one part: where, fields

// The directory below the checkpoint that a `*_path` names; empty for a label, such as a path of another machine.
std::string submodel(const std::string& directory, const std::optional<std::string>& named) {
  if (!named || named->empty() || named->find('\0') != std::string::npos || named->front() == '/') return {};
  for (size_t at = 0; at <= named->size();) {
    const size_t end = std::min(named->find('/', at), named->size());
    if (named->substr(at, end - at) == "..") return {};
    at = end + 1;
  }
  const std::string found = directory + "/" + *named;
  return is_directory(found) ? found : std::string();
}

// A JSON file that may be absent, kept with its fields.
struct Optional {
  std::optional<Json> json;
  std::optional<Fields> fields;

  Optional(const std::string& folder, const char* name) {
    const std::string path = folder + "/" + name;
    if (folder.empty() || !is_file(path)) return;
    json = load_object(path);
    fields.emplace(*json, path);
  }
  Optional(const Optional&) = delete;
};

ModelConfig published(std::string_view text) {
  const Json json = parse_json(text);
  const auto part = [&](const char* name) {
    Values values;
    if (const Json* object = json.find(name))
      if (const auto* members = object->as<Json::Object>())
        for (const auto& [key, value] : *members) {
          if (const auto* number = value.as<int64_t>()) values[key] = static_cast<double>(*number);
          if (const auto* number = value.as<double>()) values[key] = *number;
          if (const auto* flag = value.as<bool>()) values[key] = *flag;
        }
    return values;
  };
  const auto list = [](const Json& json) {
    std::vector<int64_t> found;
    for (const Json& item : *json.as<Json::List>())
      found.push_back(item.as<bool>() ? *item.as<bool>() : *item.as<int64_t>());
    return found;
  };
  ModelConfig made;
  made.name = *json.find("name")->as<std::string>();
  made.vision = part("vision");
  made.language = part("language");
  made.streams = part("streams");
  made.dit = part("dit");
  const Json& decoder = *json.find("decoder");
  made.decoder = {list(*decoder.find("channels")),          list(*decoder.find("depths")),
                  list(*decoder.find("attention")),         {},
                  *decoder.find("head_dim")->as<int64_t>(), *decoder.find("latent_channels")->as<int64_t>()};
  for (const Json& stage : *decoder.find("scales")->as<Json::List>()) made.decoder.scales.push_back(list(stage));
  made.connector_depth = *json.find("connector_depth")->as<int64_t>();
  made.query_count = *json.find("query_count")->as<int64_t>();
  made.latent_scale = *json.find("latent_scale")->as<double>();
  return made;
}

bool fits(const Values& part, const Values& seen, const char* except = "") {
  for (const auto& [field, value] : seen)
    if (field != except && part.at(field) != value) return false;
  return true;
}

// The published model of the same geometry; the vocabulary may differ.
std::optional<ModelConfig> nearest(const Values& language, const Values& dit) {
  if (language.empty() || (language.size() == 1 && language.count("vocab_size"))) return {};
  for (const std::string_view text : kPublished) {
    ModelConfig config = published(text);
    if (fits(config.language, language, "vocab_size") && fits(config.dit, dit)) return config;
  }
  return {};
}

void check_top(const Fields& top) {
  top.refuse_unknown({kTopKeys, kReadKeys}, kTrainingPrefixes);
  if (top.text("model_type") == "unilip_vae_internvl")
    throw ConfigError(top.where() +
                      ": model_type='unilip_vae_internvl' is an intermediate of training that holds a whole "
                      "autoencoder; use the unified checkpoint made from it");
  top.only("model_type", {"'unilip_internvl'", "'internvl'", "'internvl_chat'"});
  top.only("tie_word_embeddings", {"false"});
  top.only("downsample_ratio", {"0.5"});
  top.only("vision_feature_layer", {"-1"});
  top.only("select_layer", {"-1"});
  top.only("ps_version", {"'v2'"});
  top.only("vision_feature_select_strategy", {"'default'"});
  top.only("projector_hidden_act", {"'gelu'"});
}

// The sub-models that the checkpoint carries must describe the same model as its own config.json.
void same(const Described& found, const Values& made, std::span<const Field> spec, std::string_view except) {
  for (size_t i = 1; i < found.size(); ++i)
    for (const Field& field : spec)
      if (const auto place = found[i].second.find(field.name);
          field.name != except && place != found[i].second.end() && place->second != made.at(field.name))
        throw ConfigError(found[i].first + ": " + field.key + "=" + Json{place->second}.shown() + ", but " +
                          found[0].first + " gives " + Json{made.at(field.name)}.shown() + "; make them equal");
}

void judge(const Fields& top, const char* key, const std::optional<bool>& stated, bool present, const char* prefix) {
  if (stated && *stated != present)
    throw ConfigError(top.where() + ": " + key + "=" + (*stated ? "true" : "false") + ", but the checkpoint has " +
                      (present ? "" : "no ") + "tensors `" + prefix + "*`; correct the one that is wrong");
}

std::optional<Values> read_router(const Fields& top, const Detected& seen) {
  auto enabled = top.flag("enable_dynamic_routing");
  const bool present = seen.has("model.dynamic_router.");
  Values given;
  if (const auto picks = top.whole("routing_num_layers")) given["picks"] = static_cast<double>(*picks);
  if (const auto temperature = top.number("routing_temperature")) given["temperature"] = *temperature;
  if (seen.has("model.llm_connector.")) {
    judge(top, "enable_dynamic_routing", enabled, present, "model.dynamic_router.");
    enabled = present;
  }
  if (!enabled.value_or(false) && !present) return {};
  static constexpr Field spec[] = {{"picks", "routing_num_layers", NAN}, {"temperature", "routing_temperature", 1.0}};
  return merge(top.where(), spec, given, seen.router(), nullptr, {"picks"});
}

Values read_streams(const Fields& top, const Detected& detected, double width) {
  const auto stated = top.flag("use_dual_stream");
  const Values seen = detected.streams();
  if (!seen.empty())
    judge(top, "use_dual_stream", stated, seen.at("dual") != 0, "model.vae_decoder.pixel_transformer.");
  const bool dual = seen.empty() ? stated.value_or(false) : seen.at("dual") != 0;
  static constexpr Field spec[] = {{"dual", "use_dual_stream", NAN},
                                   {"blocks", "blocks", 3},
                                   {"latent_channels", "latent_channels", 32},
                                   {"pixel_depth", "dual_stream_num_layers", 6},
                                   {"pixel_heads", "dual_stream_num_heads", 16},
                                   {"pixel_mlp_width", "dual_stream_mlp_ratio", 0}};
  Values given{{"dual", dual ? 1.0 : 0.0}};
  if (dual) {
    if (const auto depth = top.whole("dual_stream_num_layers")) given["pixel_depth"] = static_cast<double>(*depth);
    if (const auto heads = top.whole("dual_stream_num_heads")) given["pixel_heads"] = static_cast<double>(*heads);
    auto ratio = top.number("dual_stream_mlp_ratio", 1024);
    if (!ratio && !seen.count("pixel_mlp_width")) ratio = 4.0;
    if (ratio) given["pixel_mlp_width"] = std::floor(width * *ratio);
  }
  return merge(top.where(), spec, given, seen, nullptr, {"pixel_depth"});
}

int64_t read_count(const Fields& top, const char* key, std::optional<int64_t> told, std::optional<int64_t> base) {
  const auto given = top.whole(key);
  if (given && told) agree(top.where(), key, static_cast<double>(*given), static_cast<double>(*told));
  const int64_t value = given ? *given : told.value_or(0) ? *told : base.value_or(0);
  if (!value) throw ConfigError(top.where() + ": lacks '" + key + "'; add it");
  return value;
}

// `unilip_factor`. The published values belong to the single-stream tokenizers (spec 11.4).
double read_scale(const Fields& top, const Detected& seen, bool dual, const std::optional<ModelConfig>& base) {
  if (const auto given = top.number("unilip_factor")) return *given;
  if (!seen.has("model.dit.")) return base ? base->latent_scale : 1.0;  // nothing reads it without a DiT
  if (!base || dual)
    throw ConfigError(top.where() +
                      ": lacks 'unilip_factor', the scale of the DiT's latents; add the value of the training run");
  return base->latent_scale;
}

DecoderShape read_decoder(const std::optional<Fields>& fields, const std::optional<DecoderShape>& told,
                          const std::optional<ModelConfig>& base, const std::string& where) {
  DecoderShape given;
  given.head_dim = given.latent_channels = 0;
  if (fields) given = decoder_fields(*fields, told ? told->channels.size() : 0);
  if (told && !given.channels.empty() && given.channels != told->channels)
    throw ConfigError(
        where + ": decoder_block_out_channels differs from the tensors; use the file that belongs to these weights");
  if (told && !given.depths.empty() && given.depths != told->depths)
    throw ConfigError(
        where + ": decoder_layers_per_block differs from the tensors; use the file that belongs to these weights");
  const DecoderShape *seen = told ? &*told : nullptr, *preset = base ? &base->decoder : nullptr;
  const auto pick = [&](auto field, const char* key) {
    for (const DecoderShape* source : {static_cast<const DecoderShape*>(&given), seen, preset})
      if (source && !(source->*field).empty()) return source->*field;
    throw ConfigError(where + ": lacks '" + key +
                      "', which neither the tensors nor a published model of this size give; add it");
  };
  const auto number = [&](int64_t DecoderShape::* field) {
    for (const DecoderShape* source : {static_cast<const DecoderShape*>(&given), seen, preset})
      if (source && source->*field) return source->*field;
    return int64_t{32};
  };
  return {pick(&DecoderShape::channels, "decoder_block_out_channels"),
          pick(&DecoderShape::depths, "decoder_layers_per_block"),
          pick(&DecoderShape::attention, "decoder_block_types"),
          pick(&DecoderShape::scales, "decoder_qkv_multiscales"),
          number(&DecoderShape::head_dim),
          number(&DecoderShape::latent_channels)};
}

std::string label(const Fields& top, const Detected& seen, bool spar, const std::optional<ModelConfig>& base) {
  const bool generates = seen.has("model.dit.") || seen.has("model.vae_decoder.");
  const std::string family = !generates ? "internvl3" : spar ? "spar" : "unilip";
  if (base && generates) return family + base->name.substr(base->name.find('-'));
  std::string name = top.text("_name_or_path").value_or("");
  while (name.size() > 1 && name.back() == '/') name.pop_back();
  name = name.substr(name.rfind('/') + 1);
  return name.empty() ? family : name;
}

}  // namespace

ModelConfig read_config(const std::string& directory, const std::map<std::string, Shape>& tensors,
                        const std::string& dit_position) {
  const std::string path = directory + "/config.json";
  const Json json = load_object(path);
  const Fields top(json, path);
  check_top(top);
  const Detected seen(tensors);
  const Values language = seen.language(), vision = seen.vision(), dit = seen.dit();
  const auto base = nearest(language, dit);
  const std::string folder = submodel(directory, top.text("dit_path"));
  const Optional hf(submodel(directory, top.text("mllm_hf_path")), "config.json"),
      mllm(submodel(directory, top.text("mllm_path")), "config.json"), transformer(folder, "transformer/config.json"),
      scheduler(folder, "scheduler/scheduler_config.json"),
      decoder(submodel(directory, top.text("vae_path")), "config.json");

  Described texts, visions;
  for (const Fields* holder : {&top, hf.fields ? &*hf.fields : nullptr, mllm.fields ? &*mllm.fields : nullptr}) {
    if (!holder) continue;
    for (const char* key : {"text_config", "llm_config"})
      if (const auto fields = holder->sub(key)) texts.emplace_back(fields->where(), language_fields(*fields));
    if (const auto fields = holder->sub("vision_config")) visions.emplace_back(fields->where(), vision_fields(*fields));
  }

  ModelConfig made;
  made.language = merge(path + ": text_config", language_spec(), texts.empty() ? Values{} : texts[0].second, language,
                        base ? &base->language : nullptr, {"vocab_size", "depth"});
  made.vision = merge(path + ": vision_config", vision_spec(), visions.empty() ? Values{} : visions[0].second, vision,
                      base && fits(base->vision, vision) ? &base->vision : nullptr, {"depth"});
  same(texts, made.language, language_spec(), "vocab_size");
  same(visions, made.vision, vision_spec(), "");
  made.streams = read_streams(top, seen, made.language.at("width"));
  made.router = read_router(top, seen);
  made.name = label(top, seen, made.streams.at("dual") != 0 || made.router, base);
  made.connector_depth = read_count(top, "connect_layer", seen.count("model.llm_connector.layers."),
                                    base ? std::optional(base->connector_depth) : std::nullopt);
  made.query_count = read_count(top, "n_query", seen.size("model.latent_queries", 1),
                                base ? std::optional(base->query_count) : std::nullopt);
  const std::string position = dit_position.empty() ? top.text("dit_pos_embed").value_or("sincos") : dit_position;
  if (position != "sincos" && position != "none")
    throw ConfigError("dit: position='" + position + "' is unknown; use 'sincos' or 'none'");
  made.positions = position == "sincos";
  made.dit = merge(transformer.fields ? transformer.fields->where() : path + ": dit_path", dit_spec(),
                   transformer.fields ? dit_fields(*transformer.fields) : Values{}, dit, base ? &base->dit : nullptr,
                   {"depth"});
  made.decoder = read_decoder(decoder.fields, seen.decoder(), base,
                              decoder.fields ? decoder.fields->where() : path + ": vae_path");
  made.guidance_scale = top.number("guidance_scale").value_or(made.guidance_scale);
  made.latent_scale = read_scale(top, seen, made.streams.at("dual") != 0, base);
  if (scheduler.fields) made.sampler = read_sampler(*scheduler.fields);
  const auto token = top.whole("image_token_id", 0);
  made.image_token_id = token       ? *token
                        : hf.fields ? hf.fields->whole("image_token_id", 0).value_or(made.image_token_id)
                                    : made.image_token_id;
  made.check();
  if (transformer.fields)
    if (const auto cross = transformer.fields->whole("cross_attention_dim"); cross && *cross != made.dit_width())
      transformer.fields->fail(
          "cross_attention_dim",
          "must equal the width, num_attention_heads x attention_head_dim = " + std::to_string(made.dit_width()));
  if (const auto length = top.whole("image_seq_length"); length && *length != made.image_tokens())
    top.fail("image_seq_length", "does not fit image_size and patch_size, which give " +
                                     std::to_string(made.image_tokens()) + " image tokens");
  return made;
}

}  // namespace spar::c_api
