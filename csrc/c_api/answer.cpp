#include "c_api/answer.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <stdexcept>

#include "c_api/noise.h"
#include "c_api/utf8.h"

namespace spar::c_api {

int64_t choose(const std::vector<float>& logits, double temperature, double top_p, uint64_t seed, uint32_t drawn) {
  if (!std::all_of(logits.begin(), logits.end(), [](float value) { return std::isfinite(value); }))
    throw std::runtime_error(
        "the language model gave values that are not finite; the weights are damaged, or this precision is too low for "
        "them");
  const auto largest = std::max_element(logits.begin(), logits.end());
  if (temperature == 0.0) return largest - logits.begin();
  std::vector<double> chance(logits.size());
  for (size_t i = 0; i < chance.size(); ++i)
    chance[i] = std::exp((static_cast<double>(logits[i]) - static_cast<double>(*largest)) / temperature);
  const double all = std::accumulate(chance.begin(), chance.end(), 0.0);
  for (double& one : chance) one /= all;
  std::vector<size_t> order(chance.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return chance[a] > chance[b]; });
  std::vector<double> total(order.size());
  double sum = 0.0;
  for (size_t i = 0; i < order.size(); ++i) total[i] = sum += chance[order[i]];
  const auto first_at_least = [&](double value) {
    return static_cast<size_t>(std::lower_bound(total.begin(), total.end(), value) - total.begin());
  };
  const size_t kept = std::min(first_at_least(top_p) + 1, total.size());  // the smallest set that reaches top_p
  const double draw = uniform(seed, drawn) * total[kept - 1];
  return static_cast<int64_t>(order[std::min(first_at_least(draw), order.size() - 1)]);
}

Answer answer(Engine& engine, const Question& q) {
  const ModelConfig& config = engine.config();
  const int64_t width = config.language.whole("width");
  const std::vector<float> features = engine.look(q.tiles, config.vision.whole("image_size"), q.cancel);
  std::vector<float> embeds = engine.embed(q.chat.ids, features);
  TextState state;
  const auto read = [&](const float* rows, int64_t tokens) {
    return engine.read(state, rows, tokens, {tokens - 1}, q.cancel);
  };
  // In the pieces that the cuts make, so that the same products are taken for every question with this beginning.
  for (const size_t cut : q.chat.cuts)
    if (const auto end = static_cast<int64_t>(cut); end > state.tokens)
      read(embeds.data() + state.tokens * width, end - state.tokens);
  const int64_t past = state.tokens;
  std::vector<float> levels = read(embeds.data() + past * width, static_cast<int64_t>(q.chat.ids.size()) - past);

  Answer made;
  Utf8Stream stream;
  const auto tell = [&](const std::string& text) {
    made.text += text;
    if (q.on_text) q.on_text(text);
  };
  for (uint32_t drawn = 0;; ++drawn) {
    const std::vector<float> last(levels.end() - width, levels.end());
    const auto logits =
        taken(engine.runner().run("lm_head", {{"hidden_states", floats(last, {1, width})}}, q.cancel), "logits");
    const int64_t token = choose(logits, q.temperature, q.top_p, q.seed, drawn);
    if (token == engine.tokenizer().special().turn_end || token == engine.tokenizer().special().end_of_text) {
      made.finished = true;
      break;
    }
    made.tokens.push_back(token);
    tell(stream.push(engine.tokenizer().piece(token)));
    if (static_cast<int64_t>(made.tokens.size()) == q.max_new_tokens) break;
    embeds.resize(static_cast<size_t>(width));
    // An answer may hold any token, the image token too: as in a prompt without a picture, it is embedded as it is.
    engine.embed_token(token, embeds.data());
    levels = read(embeds.data(), 1);
  }
  if (const std::string rest = stream.close(); !rest.empty()) tell(rest);
  return made;
}

}  // namespace spar::c_api
