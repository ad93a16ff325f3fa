#include "c_api/engine.h"

#include <algorithm>

#include "c_api/error.h"

namespace spar::c_api {
namespace {

Tokenizer checked(Tokenizer tokenizer, const ModelConfig& config) {
  tokenizer.check(config.language.whole("vocab_size"), config.image_token_id);
  return tokenizer;
}

}  // namespace

Engine::Engine(const std::string& directory, const std::string& dit_position, const std::string& precision, int threads,
               bool pin, const std::string& isa)
    : checkpoint_(directory, dit_position),
      tokenizer_(checked(Tokenizer::open(directory), config())),
      prompts_(tokenizer_, config()),
      runner_(checkpoint_, precision, threads, pin, isa) {
  if (!checkpoint_.has("condition")) return;
  queries_.resize(static_cast<size_t>(config().query_count * config().language.whole("width")));
  checkpoint_.read("model.latent_queries", 0, static_cast<int64_t>(queries_.size()), queries_.data());
}

void Engine::prepare() {
  for (const char* component :
       {"vision", "language", "lm_head", "condition", "context", "modulation", "dit", "streams", "decoder"})
    if (checkpoint_.has(component)) runner_.load(component);
}

std::vector<float> Engine::embed(const Ids& ids, const std::vector<float>& features) const {
  if (!checkpoint_.has("language"))
    throw BackendError("the weights at " + checkpoint_.directory() + " hold no language model; use a whole model");
  const int64_t width = config().language.whole("width");
  std::vector<float> rows(ids.size() * static_cast<size_t>(width));
  auto feature = features.begin();
  for (size_t i = 0; i < ids.size(); ++i) {
    float* row = rows.data() + i * static_cast<size_t>(width);
    if (ids[i] != config().image_token_id) {
      embed_token(ids[i], row);
      continue;
    }
    if (features.end() - feature < width)
      throw InputError("the prompt has more image tokens than the picture gave; use one marker for the picture");
    std::copy_n(feature, width, row);
    feature += width;
  }
  if (feature != features.end())
    throw InputError("the prompt has fewer image tokens than the picture gave; use one marker for the picture");
  return rows;
}

void Engine::embed_token(int64_t id, float* row) const {
  const int64_t width = config().language.whole("width");
  checkpoint_.read("model.language_model.embed_tokens.weight", id * width, width, row);
}

std::vector<float> Engine::look(const std::vector<std::vector<float>>& tiles, int64_t side, Flag cancel) {
  std::vector<float> features;
  for (const auto& tile : tiles) {
    const auto found =
        taken(runner_.run("vision", {{"pixel_values", floats(tile, {1, 3, side, side})}}, cancel), "features");
    features.insert(features.end(), found.begin(), found.end());
  }
  return features;
}

std::vector<float> Engine::read(TextState& state, const float* embeds, int64_t tokens, const std::vector<int64_t>& rows,
                                Flag cancel) {
  const Values& t = config().language;
  cpu::Inputs inputs{{"inputs_embeds", floats(embeds, {1, tokens, t.whole("width")})}, {"rows", wholes(rows)}};
  cpu::Input past;
  past.shape = {t.whole("depth"), 1, t.whole("kv_heads"), state.tokens, config().head_dim()};
  past.cache = state.cache;
  past.cached = state.tokens;
  inputs["past_keys"] = inputs["past_values"] = past;
  const cpu::Outputs outputs = runner_.run("language", inputs, cancel);
  state = {outputs.cache, outputs.cached};
  return taken(outputs, "hidden_levels");
}

std::vector<float> Engine::decode(const std::vector<float>& latent, int64_t height, int64_t width, Flag cancel) {
  return taken(runner_.run("decoder",
                           {{"latent", floats(latent, {1, config().decoder.latent_channels, height, width})}}, cancel),
               "image");
}

}  // namespace spar::c_api
