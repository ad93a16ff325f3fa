#include "c_api/model_config.h"

#include <cmath>

#include "c_api/error.h"

namespace spar::c_api {
namespace {

constexpr int64_t kMostLayers = 1024;  // keeps a damaged file from describing a model that never ends
constexpr int64_t kMostSize = int64_t{1} << 31;

void whole(const std::string& part, const std::string& field, double value, int64_t most = kMostSize) {
  if (!(value >= 1) || value != std::floor(value) || value > static_cast<double>(most))
    throw ConfigError(part + ": " + field + "=" + std::to_string(value) + " must be a whole number from 1 to " +
                      std::to_string(most));
}

void above_zero(const std::string& part, const std::string& field, double value) {
  if (!(value > 0) || std::isinf(value))
    throw ConfigError(part + ": " + field + "=" + std::to_string(value) + " must be a finite number greater than 0");
}

void divides(const std::string& part, const std::string& name, int64_t value, const std::string& by_name, int64_t by) {
  if (value % by)
    throw ConfigError(part + ": " + name + "=" + std::to_string(value) + " is not a multiple of " + by_name + "=" +
                      std::to_string(by));
}

void each_whole(const std::string& part, const Values& values, std::initializer_list<const char*> fields) {
  for (const char* field : fields)
    whole(part, field, values.at(field), std::string(field) == "depth" ? kMostLayers : kMostSize);
}

void check_understanding(const Values& v, const Values& t) {
  each_whole("vision", v, {"width", "heads", "mlp_width", "image_size", "patch_size", "depth"});
  above_zero("vision", "eps", v.at("eps"));
  divides("vision", "width", v.whole("width"), "heads", v.whole("heads"));
  divides("vision", "image_size", v.whole("image_size"), "2 * patch_size", 2 * v.whole("patch_size"));
  each_whole("language", t, {"vocab_size", "width", "heads", "kv_heads", "mlp_width", "max_positions", "depth"});
  above_zero("language", "rope_theta", t.at("rope_theta"));
  above_zero("language", "eps", t.at("eps"));
  divides("language", "width", t.whole("width"), "heads", t.whole("heads"));
  divides("language", "heads", t.whole("heads"), "kv_heads", t.whole("kv_heads"));
  divides("language", "head_dim", t.whole("width") / t.whole("heads"), "2", 2);
}

void check_streams(const Values& s, int64_t width) {
  each_whole("streams", s, {"latent_channels"});
  whole("streams", "blocks", s.at("blocks"), kMostLayers);
  if (s.at("dual") == 0) return;
  each_whole("streams", s, {"pixel_heads", "pixel_mlp_width"});
  whole("streams", "pixel_depth", s.at("pixel_depth"), kMostLayers);
  divides("model", "width", width, "dual_stream_num_heads", s.whole("pixel_heads"));
}

void check_dit(const ModelConfig& config) {
  const Values& d = config.dit;
  each_whole("dit", d,
             {"heads", "head_dim", "cross_heads", "cross_head_dim", "caption_width", "sample_size", "in_channels",
              "out_channels", "depth"});
  above_zero("dit", "mlp_ratio", d.at("mlp_ratio"));
  above_zero("dit", "eps", d.at("eps"));
  whole("dit", "width", d.at("heads") * d.at("head_dim"));
  const int64_t width = config.dit_width();
  whole("dit", "mlp_ratio x width", std::floor(d.at("mlp_ratio") * static_cast<double>(width)));
  if (d.at("patch_size") != 1)
    throw ConfigError("dit: patch_size=" + std::to_string(d.whole("patch_size")) +
                      " is not supported; this family uses 1");
  if (d.at("in_channels") != d.at("out_channels"))
    throw ConfigError("dit: out_channels=" + std::to_string(d.whole("out_channels")) +
                      " must equal in_channels=" + std::to_string(d.whole("in_channels")));
  if (d.at("cross_heads") * d.at("cross_head_dim") != static_cast<double>(width))
    throw ConfigError("dit: num_cross_attention_heads=" + std::to_string(d.whole("cross_heads")) +
                      " x cross_attention_head_dim=" + std::to_string(d.whole("cross_head_dim")) +
                      " must equal the width " + std::to_string(width));
  if (config.positions) {
    divides("dit", "width", width, "4 (for the position table)", 4);
    if (d.at("sample_size") >= 128)
      throw ConfigError("dit: sample_size=" + std::to_string(d.whole("sample_size")) +
                        " with a position table must be below 128");
  }
}

void check_decoder(const DecoderShape& x) {
  const size_t stages = x.channels.size();
  if (!stages || stages > 16)
    throw ConfigError("decoder: channels has " + std::to_string(stages) + " stages; give 1 to 16");
  whole("decoder", "head_dim", static_cast<double>(x.head_dim));
  whole("decoder", "latent_channels", static_cast<double>(x.latent_channels));
  for (const size_t size : {x.depths.size(), x.attention.size(), x.scales.size()})
    if (size != stages)
      throw ConfigError("decoder: a list has " + std::to_string(size) + " stages, channels has " +
                        std::to_string(stages));
  for (size_t i = 0; i < stages; ++i) {
    const std::string where = "decoder: stage " + std::to_string(i);
    whole(where, "channels", static_cast<double>(x.channels[i]));
    whole(where, "depth", static_cast<double>(x.depths[i]), kMostLayers);
    for (const int64_t kernel : x.scales[i])
      if (kernel < 1 || kernel % 2 == 0)
        throw ConfigError(where + ": kernel size " + std::to_string(kernel) + " must be odd");
    if (!x.scales[i].empty() && !x.attention[i]) throw ConfigError(where + ": kernel sizes belong to attention only");
    if (x.attention[i])
      divides("decoder", "channels of stage " + std::to_string(i), x.channels[i], "head_dim", x.head_dim);
    if (i)
      divides("decoder", "4 * channels of stage " + std::to_string(i - 1), 4 * x.channels[i - 1],
              "channels of stage " + std::to_string(i), x.channels[i]);
  }
  divides("decoder", "last channels", x.channels.back(), "latent_channels", x.latent_channels);
}

}  // namespace

std::vector<int64_t> ModelConfig::levels() const {
  const int64_t depth = language.whole("depth");
  if (!router) return {depth};
  const int64_t picks = router->whole("picks"), step = depth / picks;
  std::vector<int64_t> found;
  for (int64_t i = 1; i < picks; ++i) found.push_back(step * i);
  found.push_back(depth);
  return found;
}

void ModelConfig::check() const {
  check_understanding(vision, language);
  check_streams(streams, language.whole("width"));
  check_dit(*this);
  check_decoder(decoder);
  whole("model", "query_count", static_cast<double>(query_count));
  whole("model", "connector_depth", static_cast<double>(connector_depth), kMostLayers);
  above_zero("model", "latent_scale", latent_scale);
  above_zero("model", "guidance_scale", guidance_scale);
  above_zero("sampler", "shift", sampler.shift);
  whole("sampler", "train_steps", static_cast<double>(sampler.train_steps));
  if (router) {
    whole("router", "picks", router->at("picks"));
    above_zero("router", "temperature", router->at("temperature"));
    if (router->at("picks") > language.at("depth"))
      throw ConfigError("router: routing_num_layers=" + std::to_string(router->whole("picks")) +
                        " does not fit a language model of " + std::to_string(language.whole("depth")) + " layers");
  }
  if (dit.whole("in_channels") != streams.whole("latent_channels") ||
      dit.whole("in_channels") != decoder.latent_channels)
    throw ConfigError("model: latent channels differ: " + std::to_string(dit.whole("in_channels")) + " in the DiT, " +
                      std::to_string(streams.whole("latent_channels")) + " in the tokenizer, " +
                      std::to_string(decoder.latent_channels) + " in the decoder");
  if (image_token_id < 0 || image_token_id >= language.whole("vocab_size"))
    throw ConfigError("model: image_token_id=" + std::to_string(image_token_id) + " is outside the vocabulary of " +
                      std::to_string(language.whole("vocab_size")));
}

cpu::Config ModelConfig::components() const {
  cpu::Config made;
  const auto add = [&](const std::string& part, const Values& values) {
    for (const auto& [field, value] : values) made.numbers[part + "." + field] = value;
  };
  add("vision", vision);
  add("language", language);
  add("streams", streams);
  add("dit", dit);
  made.numbers["vision.grid"] = static_cast<double>(grid());
  made.numbers["dit.width"] = static_cast<double>(dit_width());
  made.numbers["dit.mlp_width"] = static_cast<double>(dit_mlp_width());
  made.numbers["dit.positions"] = positions;
  made.numbers["connector_depth"] = static_cast<double>(connector_depth);
  made.numbers["router.picks"] = router ? router->at("picks") : 0;
  made.numbers["router.temperature"] = router ? router->at("temperature") : 1.0;
  made.numbers["decoder.latent_channels"] = static_cast<double>(decoder.latent_channels);
  made.numbers["decoder.head_dim"] = static_cast<double>(decoder.head_dim);
  made.lists["levels"] = levels();
  made.lists["decoder.channels"] = decoder.channels;
  made.lists["decoder.depths"] = decoder.depths;
  made.lists["decoder.attention"] = decoder.attention;
  for (size_t i = 0; i < decoder.scales.size(); ++i)
    made.lists["decoder.scales." + std::to_string(i)] = decoder.scales[i];
  return made;
}

}  // namespace spar::c_api
