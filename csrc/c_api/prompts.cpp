#include "c_api/prompts.h"

#include <algorithm>
#include <set>

#include "c_api/error.h"
#include "c_api/utf8.h"

namespace spar::c_api {
namespace {

constexpr std::string_view kPlaceholder = "<image>";
constexpr std::string_view kChatSystem =
    "你是书生·万象，英文名是InternVL，是由上海人工智能实验室、清华大学及多家合作单位联合开发的多模态大语言模型。";
constexpr size_t kMostCharacters = 16;  // for each token of the model's limit: tokenizing megabytes takes minutes

std::string turn(std::string_view role, std::string_view text) {
  return "<|im_start|>" + std::string(role) + "\n" + std::string(text) + "<|im_end|>\n";
}

// The frame of every prompt that ends in a picture: the reply has begun and opened the picture.
std::string drawing(std::string_view request) { return turn("user", request) + "<|im_start|>assistant\n<img>"; }

size_t count_of(std::string_view text, std::string_view part) {
  size_t count = 0;
  for (size_t at = 0; (at = text.find(part, at)) != std::string_view::npos; at += part.size()) ++count;
  return count;
}

// What Python's str.strip takes for blank.
bool blank(char32_t p) {
  return (p >= 0x9 && p <= 0xD) || (p >= 0x1C && p <= 0x20) || p == 0x85 || p == 0xA0 || p == 0x1680 ||
         (p >= 0x2000 && p <= 0x200A) || p == 0x2028 || p == 0x2029 || p == 0x202F || p == 0x205F || p == 0x3000;
}

}  // namespace

Prompts::Prompts(const Tokenizer& tokenizer, const ModelConfig& config)
    : tokenizer_(tokenizer),
      most_(static_cast<size_t>(config.language.whole("max_positions"))),
      queries_(static_cast<size_t>(config.query_count)),
      image_tokens_(static_cast<size_t>(config.image_tokens())),
      shared_generation_(tokenizer.encode("<|im_start|>user\nGenerate an image:")),
      shared_edit_(tokenizer.encode("<|im_start|>user\nEdit the image:")) {}

void Prompts::check(const char* name, const std::string& text, bool may_hold_placeholder) const {
  const std::string what = name;
  if (const size_t fault = utf8_fault(text); fault != std::string::npos)
    throw InputError(what + " is not UTF-8 at byte " + std::to_string(fault) + "; pass valid UTF-8");
  const std::u32string points = to_points(text);
  if (std::all_of(points.begin(), points.end(), blank))
    throw InputError(what + " is " + (text.empty() ? "empty" : "blank") + "; write some text");
  for (const std::string& token : tokenizer_.forbidden())
    if (const size_t at = text.find(token); at != std::string::npos && !(may_hold_placeholder && token == kPlaceholder))
      throw InputError(what + " holds the special token " + token + " at character " +
                       std::to_string(count_points(text.substr(0, at))) +
                       "; it would change the prompt's structure, remove it");
}

Ids Prompts::build(const char* name, const std::string& filled, size_t image_tokens, size_t reserve,
                   const char* reserve_name) const {
  std::string text = filled;
  if (const size_t at = text.find(kPlaceholder); at != std::string::npos) {
    std::string image = "<img>";
    for (size_t i = 0; i < image_tokens; ++i) image += "<IMG_CONTEXT>";
    text.replace(at, kPlaceholder.size(), image + "</img>");
  }
  const size_t characters = count_points(text);
  if (characters > kMostCharacters * most_)
    throw InputError("text of " + std::to_string(characters) + " characters is over the limit of " +
                     std::to_string(kMostCharacters * most_) + ", " + std::to_string(kMostCharacters) +
                     " for each of " + std::to_string(most_) + " tokens; shorten it");
  Ids ids = tokenizer_.encode(text);
  if (ids.size() + reserve > most_)
    throw InputError(std::string(name) + " is too long: " + std::to_string(ids.size()) +
                     " tokens with its template and pictures, and " + std::to_string(reserve) + " " + reserve_name +
                     ", exceed the model's " + std::to_string(most_) + " positions; shorten it");
  return ids;
}

namespace {

size_t leading(const Ids& ids, const Ids& shared) {
  const bool begins = ids.size() >= shared.size() && std::equal(shared.begin(), shared.end(), ids.begin());
  return begins ? shared.size() : 0;
}

}  // namespace

Prompt Prompts::generation(const std::string* prompt, const char* name) const {
  if (prompt) check(name, *prompt);
  Ids ids = build(name, drawing(prompt ? "Generate an image: " + *prompt : "Generate an image."), 0, queries_,
                  "latent queries");
  const size_t shared = leading(ids, shared_generation_);
  return {std::move(ids), shared};
}

Prompt Prompts::edit(const std::string* instruction, const char* name) const {
  if (instruction) check(name, *instruction);
  const std::string request = instruction ? "Edit the image: " + *instruction : "Edit the image.";
  Ids ids = build(name, drawing(request + "\n" + std::string(kPlaceholder)), image_tokens_, queries_, "latent queries");
  const size_t shared = leading(ids, shared_edit_);
  return {std::move(ids), shared};
}

Chat Prompts::chat(const std::string& question, std::span<const std::pair<std::string, std::string>> history,
                   size_t tiles, size_t max_new_tokens) const {
  std::vector<std::string> questions;
  for (const auto& [asked, answer] : history) {
    check("question in history", asked, true);
    check("answer in history", answer);
    questions.push_back(asked);
  }
  check("question", question, true);
  questions.push_back(question);
  size_t places = 0;
  for (const auto& asked : questions) places += count_of(asked, kPlaceholder);
  if (tiles && !places) {  // InternVL's rule: a picture that no question mentions comes first
    questions[0] = std::string(kPlaceholder) + "\n" + questions[0];
    ++places;
  }
  if (places != (tiles ? 1u : 0u))
    throw InputError("question has " + std::to_string(places) + " <image> for " + (tiles ? "1 picture" : "no picture") +
                     "; write one where the picture belongs");
  std::string text = turn("system", kChatSystem);
  for (size_t i = 0; i < history.size(); ++i) text += turn("user", questions[i]) + turn("assistant", history[i].second);
  text += turn("user", questions.back()) + "<|im_start|>assistant\n";
  Chat chat{build("question", text, tiles * image_tokens_, max_new_tokens, "max_new_tokens"), {}};

  // Before every turn of the user, and after the picture. Text is tokenized apart from the special tokens there, so
  // that the ids before a cut do not depend on what follows.
  std::set<size_t> cuts;
  size_t turns = 0;
  for (size_t i = 0; i < chat.ids.size(); ++i) {
    if (chat.ids[i] == tokenizer_.special().turn_start && turns++ % 2 == 1) cuts.insert(i);
    if (chat.ids[i] == tokenizer_.special().image_end) cuts.insert(i + 1);
  }
  chat.cuts.assign(cuts.begin(), cuts.end());
  return chat;
}

}  // namespace spar::c_api
