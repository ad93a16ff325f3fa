#include "c_api/tokenizer.h"

#include <algorithm>
#include <set>

#include "c_api/error.h"
#include "c_api/mapped.h"
#include "c_api/split.h"
#include "c_api/unicode.h"
#include "c_api/utf8.h"

namespace spar::c_api {
namespace {

const std::string kNoToken = "\xEF\xBF\xBD";
constexpr const char* kNames[] = {"<|endoftext|>", "<|im_start|>", "<|im_end|>", "<img>", "</img>", "<IMG_CONTEXT>"};

// Whether `json` is an object whose "type" is `type`.
bool is_a(const Json* json, std::string_view type) {
  const Json* kind = json ? json->find("type") : nullptr;
  return kind && kind->as<std::string>() && *kind->as<std::string>() == type;
}

bool is_flag(const Json* json, bool wanted) { return json && json->as<bool>() && *json->as<bool>() == wanted; }
bool is_empty(const Json* json) {
  return !json || json->null() || (json->as<std::string>() && json->as<std::string>()->empty());
}
bool is_off(const Json* json) { return !json || json->null() || is_flag(json, false); }

[[noreturn]] void unsupported(const std::string& where, const char* part, const std::string& wanted) {
  throw CheckpointError(where + ": its " + part + " is of another kind; only " + wanted + " is supported");
}

void check_kind(const Json& root, const std::string& where) {
  const Json* normalizer = root.find("normalizer");
  if (normalizer && !normalizer->null() && !is_a(normalizer, "NFC")) unsupported(where, "normalizer", "NFC");
  if (!is_a(root.find("decoder"), "ByteLevel")) unsupported(where, "decoder", "ByteLevel");
  const Json* splitter = root.find("pre_tokenizer");
  const Json* steps = is_a(splitter, "Sequence") ? splitter->find("pretokenizers") : nullptr;
  const auto* list = steps ? steps->as<Json::List>() : nullptr;
  const char* const wanted = "Qwen2's split followed by ByteLevel without its own split and prefix";
  if (!list || list->size() != 2 || !is_a(&(*list)[0], "Split") || !is_a(&(*list)[1], "ByteLevel"))
    unsupported(where, "pre_tokenizer", wanted);
  const Json &split = (*list)[0], &bytes = (*list)[1];
  const Json *pattern = split.find("pattern"), *regex = pattern ? pattern->find("Regex") : nullptr,
             *behavior = split.find("behavior");
  if (!regex || !regex->as<std::string>() || *regex->as<std::string>() != kSplitPattern || !behavior ||
      behavior->shown() != "'Isolated'" || !is_off(split.find("invert")) ||
      !is_flag(bytes.find("add_prefix_space"), false) || !is_flag(bytes.find("use_regex"), false))
    unsupported(where, "pre_tokenizer", wanted);
  const Json* model = root.find("model");
  const Json* kind = model ? model->find("type") : nullptr;
  if (!model || (kind && !is_a(model, "BPE")) || !is_empty(model->find("continuing_subword_prefix")) ||
      !is_empty(model->find("end_of_word_suffix")) || !is_off(model->find("byte_fallback")) ||
      !is_off(model->find("dropout")))
    unsupported(where, "model", "plain BPE");
}

int64_t id_of(const Json& json, const std::string& where) {
  const auto* id = json.as<int64_t>();
  if (!id || *id < 0 || *id >= int64_t{1} << 31)
    throw CheckpointError(where + ": a token has the id " + json.shown() + ", not a whole number below 2^31");
  return *id;
}

std::unordered_map<std::string, int64_t> read_vocabulary(const Json* json, const std::string& where) {
  const auto* members = json ? json->as<Json::Object>() : nullptr;
  if (!members) throw CheckpointError(where + ": its vocabulary is not a table of tokens and ids");
  std::unordered_map<std::string, int64_t> found;
  for (const auto& [token, id] : *members) found[token] = id_of(id, where);
  return found;
}

std::vector<std::pair<std::string, std::string>> read_merges(const Json* json, const std::string& where) {
  const auto* list = json ? json->as<Json::List>() : nullptr;
  if (!list) throw CheckpointError(where + ": its merges are not a list");
  std::vector<std::pair<std::string, std::string>> found;
  for (const Json& item : *list) {
    const auto* pair = item.as<Json::List>();
    const auto* line = item.as<std::string>();
    const size_t blank = line ? line->find(' ') : std::string::npos;
    if (pair && pair->size() == 2 && (*pair)[0].as<std::string>() && (*pair)[1].as<std::string>())
      found.emplace_back(*(*pair)[0].as<std::string>(), *(*pair)[1].as<std::string>());
    else if (line && blank != std::string::npos && line->find(' ', blank + 1) == std::string::npos)
      found.emplace_back(line->substr(0, blank), line->substr(blank + 1));
    else
      throw CheckpointError(where + ": merge " + std::to_string(found.size()) + " is " + item.shown() +
                            ", not two tokens");
  }
  return found;
}

Json parsed(std::string_view text, const std::string& where) {
  try {
    return parse_json(text);
  } catch (const JsonError& error) {
    throw CheckpointError(where + ": is not JSON (" + error.what() + "); download it again");
  }
}

}  // namespace

Tokenizer Tokenizer::open(const std::string& directory) {
  const std::string fast = directory + "/tokenizer.json";
  if (is_file(fast)) return {Mapped(fast).bytes(), fast};
  const Mapped vocabulary(directory + "/vocab.json"), merges(directory + "/merges.txt"),
      added(directory + "/added_tokens.json");
  const std::string map = directory + "/special_tokens_map.json";
  if (!is_file(map)) return {vocabulary.bytes(), merges.bytes(), added.bytes(), {}, directory};
  return {vocabulary.bytes(), merges.bytes(), added.bytes(), Mapped(map).bytes(), directory};
}

Tokenizer::Tokenizer(std::string_view text, const std::string& where) : where_(where) {
  const Json root = parsed(text, where);
  check_kind(root, where);
  composes_ = is_a(root.find("normalizer"), "NFC");
  const Json& model = *root.find("model");
  build(read_vocabulary(model.find("vocab"), where), read_merges(model.find("merges"), where),
        is_flag(model.find("ignore_merges"), true));
  std::vector<AddedToken> added;
  const Json* listed = root.find("added_tokens");
  const auto* list = listed ? listed->as<Json::List>() : nullptr;
  if (!list) throw CheckpointError(where + ": added_tokens is not a list");
  for (const Json& entry : *list) {
    const Json *content = entry.find("content"), *id = entry.find("id"), *special = entry.find("special");
    if (!content || !content->as<std::string>() || content->as<std::string>()->empty() || !id)
      throw CheckpointError(where + ": added_tokens has " + entry.shown() + " without a content and an id");
    for (const char* key : {"single_word", "lstrip", "rstrip", "normalized"})
      if (!is_off(entry.find(key)))
        throw CheckpointError(where + ": the added token " + content->shown() + " has " + key +
                              "=true, which is not supported");
    added.push_back({*content->as<std::string>(), id_of(*id, where), is_flag(special, true)});
  }
  add(std::move(added));
}

Tokenizer::Tokenizer(std::string_view vocabulary, std::string_view merges, std::string_view added,
                     std::string_view special_map, const std::string& where)
    : where_(where) {
  Json::List pairs;
  if (utf8_fault(merges) != std::string_view::npos)
    throw CheckpointError(where + "/merges.txt: is not UTF-8; download it again");
  for (size_t at = 0; at < merges.size();) {
    const size_t end = std::min(merges.find('\n', at), merges.size());
    std::string line(merges.substr(at, end - at));
    if (line.ends_with('\r')) line.pop_back();
    if (!line.empty() && !line.starts_with("#version")) pairs.push_back({line});
    at = end + 1;
  }
  const Json words = parsed(vocabulary, where + "/vocab.json"), more = parsed(added, where + "/added_tokens.json"),
             lines{pairs};
  build(read_vocabulary(&words, where + "/vocab.json"), read_merges(&lines, where + "/merges.txt"), false);
  const auto* members = more.as<Json::Object>();
  if (!members) throw CheckpointError(where + "/added_tokens.json: not a table of tokens and ids");
  std::vector<std::string> names;
  if (!special_map.empty()) {
    const Json map = parsed(special_map, where + "/special_tokens_map.json");
    const auto take = [&](const Json& entry) {
      const Json* content = entry.find("content");
      if (const auto* name = content ? content->as<std::string>() : entry.as<std::string>()) names.push_back(*name);
    };
    for (const auto& [key, value] : map.as<Json::Object>() ? *map.as<Json::Object>() : Json::Object{}) {
      take(value);
      if (const auto* list = value.as<Json::List>()) std::for_each(list->begin(), list->end(), take);
    }
  }
  std::vector<AddedToken> tokens;
  for (const auto& [token, id] : *members)
    tokens.push_back(
        {token, id_of(id, where), special_map.empty() || std::find(names.begin(), names.end(), token) != names.end()});
  add(std::move(tokens));
}

void Tokenizer::build(std::unordered_map<std::string, int64_t> vocabulary,
                      const std::vector<std::pair<std::string, std::string>>& merges, bool whole) {
  for (const auto& [token, id] : vocabulary)
    if (!pieces_.emplace(id, written(token)).second)
      throw CheckpointError(where_ + ": two tokens have the id " + std::to_string(id) + "; download it again");
  bpe_ = std::make_unique<Bpe>(std::move(vocabulary), merges, whole, where_);
}

void Tokenizer::add(std::vector<AddedToken> added) {
  added_ = std::move(added);
  std::stable_sort(added_.begin(), added_.end(),
                   [](const auto& a, const auto& b) { return a.content.size() > b.content.size(); });
  std::set<std::string_view> contents;
  std::set<int64_t> ids;
  for (const AddedToken& token : added_) {
    const bool twice = !contents.insert(token.content).second || !ids.insert(token.id).second;
    const int64_t known = bpe_->find(token.content);
    if (twice || (known >= 0 ? known != token.id : pieces_.count(token.id) != 0))
      throw CheckpointError(where_ + ": the added token " + token.content + " has the id " + std::to_string(token.id) +
                            " of another; download it again");
  }
  for (const AddedToken& token : added_) pieces_[token.id] = token.special ? "" : token.content;
}

void Tokenizer::check(int64_t rows, int64_t image_token_id) {
  rows_ = rows;
  int64_t* ids[] = {&special_.end_of_text, &special_.turn_start, &special_.turn_end,
                    &special_.image_start, &special_.image_end,  &special_.image_context};
  for (size_t i = 0; i < std::size(kNames); ++i) {
    const auto place =
        std::find_if(added_.begin(), added_.end(), [&](const auto& token) { return token.content == kNames[i]; });
    if (place == added_.end())
      throw CheckpointError(where_ + ": no special token " + kNames[i] + "; this is not the tokenizer of this family");
    if (place->id >= rows)
      throw CheckpointError(where_ + ": " + kNames[i] + " has id " + std::to_string(place->id) +
                            ", but the embedding has only " + std::to_string(rows) + " rows");
    *ids[i] = place->id;
  }
  if (special_.image_context != image_token_id)
    throw CheckpointError(where_ + ": <IMG_CONTEXT> has id " + std::to_string(special_.image_context) +
                          ", but the configuration says image_token_id=" + std::to_string(image_token_id));
  forbidden_ = {"<image>"};
  for (const AddedToken& token : added_) {
    static constexpr std::string_view grounding[] = {"<ref>", "</ref>", "<box>", "</box>", "<quad>", "</quad>"};
    if (std::find(std::begin(grounding), std::end(grounding), token.content) == std::end(grounding))
      forbidden_.push_back(token.content);
  }
  std::stable_sort(forbidden_.begin(), forbidden_.end(),
                   [](const auto& a, const auto& b) { return count_points(a) > count_points(b); });
}

void Tokenizer::encode_plain(std::string_view text, std::vector<int64_t>& ids) const {
  const std::u32string points = composes_ ? nfc(to_points(text)) : to_points(text);
  for (const auto word : split_words(points)) bpe_->encode(to_utf8(word), ids);
}

std::vector<int64_t> Tokenizer::encode(std::string_view text) const {
  std::vector<int64_t> ids;
  size_t plain = 0;  // where the text since the last added token begins
  for (size_t at = 0; at < text.size();) {
    const auto token = std::find_if(added_.begin(), added_.end(),
                                    [&](const auto& t) { return text.substr(at).starts_with(t.content); });
    if (token == added_.end()) {
      ++at;
      continue;
    }
    encode_plain(text.substr(plain, at - plain), ids);
    ids.push_back(token->id);
    plain = at += token->content.size();
  }
  encode_plain(text.substr(plain), ids);
  for (const int64_t id : ids)
    if (rows_ && id >= rows_)
      throw InputError("text holds token " + std::to_string(id) + ", which has no row in the model's embedding of " +
                       std::to_string(rows_) + "; remove it");
  return ids;
}

std::string_view Tokenizer::piece(int64_t id) const {
  const auto place = pieces_.find(id);
  return place == pieces_.end() ? std::string_view(kNoToken) : std::string_view(place->second);
}

}  // namespace spar::c_api
