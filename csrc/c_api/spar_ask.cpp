// spar.h: questions.
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <new>

#include "c_api/answer.h"
#include "c_api/boundary.h"

using namespace spar::c_api;

namespace {

using Turns = std::vector<std::pair<std::string, std::string>>;

Turns history_of(const spar_ask_options& o) {
  Turns turns;
  if (o.history_count && !o.history)
    throw spar::InputError("history is NULL, but history_count=" + std::to_string(o.history_count) +
                           "; pass both or neither");
  for (size_t i = 0; i < o.history_count; ++i)
    turns.emplace_back(&required(o.history[i].question, "history.question"),
                       &required(o.history[i].answer, "history.answer"));
  return turns;
}

Question question_of(Engine& engine, const spar_picture* picture, const std::string& text, const spar_ask_options& o) {
  const ModelConfig& config = engine.config();
  Question made;
  made.max_new_tokens = in_range("max_new_tokens", o.max_new_tokens, 1, config.language.whole("max_positions"));
  if (!(o.temperature >= 0) || std::isinf(o.temperature))
    throw spar::InputError("temperature=" + std::to_string(o.temperature) + " is not a finite number of at least 0");
  if (!(o.top_p > 0 && o.top_p <= 1))
    throw spar::InputError("top_p=" + std::to_string(o.top_p) + " is not a number above 0, up to 1");
  if (o.temperature == 0 && o.top_p != 1)
    throw spar::InputError("top_p=" + std::to_string(o.top_p) +
                           " has no effect at temperature=0; leave it out or raise temperature");
  made.temperature = o.temperature;
  made.top_p = o.top_p;
  made.seed = o.seed;
  made.cancel = flag_of(o.cancel);
  const int64_t tiles = in_range("max_tiles", o.max_tiles, 1, 12);
  if (picture) made.tiles = chat_pixels(picture_of(picture), config.vision.whole("image_size"), tiles);
  made.chat = engine.prompts().chat(text, history_of(o), made.tiles.size(), static_cast<size_t>(made.max_new_tokens));
  if (o.on_text)
    made.on_text = [call = o.on_text, user = o.user](const std::string& piece) {
      if (call(user, piece.c_str(), piece.size())) throw Cancelled{};
    };
  return made;
}

void give(const Answer& answer, size_t prompt_tokens, spar_answer& to) {
  const size_t bytes = answer.tokens.size() * sizeof(int64_t);
  auto* text = static_cast<char*>(std::malloc(answer.text.size() + 1));
  auto* tokens = static_cast<int64_t*>(std::malloc(bytes + 1));
  if (!text || !tokens) {
    std::free(text);
    std::free(tokens);
    throw std::bad_alloc();
  }
  std::memcpy(text, answer.text.c_str(), answer.text.size() + 1);
  if (bytes) std::memcpy(tokens, answer.tokens.data(), bytes);
  to = {text, tokens, static_cast<int32_t>(answer.tokens.size()), static_cast<int32_t>(prompt_tokens), answer.finished};
}

}  // namespace

void spar_ask_options_init(spar_ask_options* options) {
  if (!options) return;
  *options = {};
  options->size = sizeof *options;
  options->max_new_tokens = 256;
  options->max_tiles = 1;
  options->top_p = 1.0;
}

void spar_answer_free(spar_answer* answer) {
  if (!answer) return;
  std::free(answer->text);
  std::free(answer->tokens);
  *answer = {};
}

spar_status spar_ask(spar_engine* engine, const spar_picture* picture, const char* question,
                     const spar_ask_options* options, spar_answer* result) {
  if (result) *result = {};
  return guarded([&] {
    spar_answer& to = required(result, "answer");
    Engine& used = required(engine, "engine").engine;
    const spar_ask_options o = options_of(options, spar_ask_options_init, "spar_ask_options");
    const Question asked = question_of(used, picture, &required(question, "question"), o);
    give(answer(used, asked), asked.chat.ids.size(), to);
  });
}
