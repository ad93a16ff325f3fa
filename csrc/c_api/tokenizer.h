// The tokenizer of a checkpoint: text to ids, ids to bytes, and the ids of its special tokens. Its tokens for a text
// are those of the package `tokenizers`.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "c_api/bpe.h"
#include "c_api/json.h"

namespace spar::c_api {

// Ids of the special tokens of the family (spec 5.1).
struct SpecialIds {
  int64_t end_of_text, turn_start, turn_end, image_start, image_end, image_context;
};

// A token that is found in the text before it is split.
struct AddedToken {
  std::string content;
  int64_t id;
  bool special;
};

class Tokenizer {
 public:
  // tokenizer.json of a directory, or vocab.json, merges.txt and added_tokens.json where it has none.
  static Tokenizer open(const std::string& directory);
  // From the text of a tokenizer.json; `where` names it in messages. CheckpointError for one of another kind.
  Tokenizer(std::string_view text, const std::string& where);
  // From the texts of the slow tokenizer's files; `special_map` may be empty.
  Tokenizer(std::string_view vocabulary, std::string_view merges, std::string_view added, std::string_view special_map,
            const std::string& where);

  // CheckpointError unless the special tokens are there, below `rows`, with the configuration's id of <IMG_CONTEXT>.
  void check(int64_t rows, int64_t image_token_id);

  const SpecialIds& special() const { return special_; }
  // Special tokens that user text may not hold, longest first.
  const std::vector<std::string>& forbidden() const { return forbidden_; }

  // Ids of valid UTF-8; special tokens in it count as such. InputError for an id that is not below `rows`.
  std::vector<int64_t> encode(std::string_view text) const;
  // The bytes of a token: none for a special one, U+FFFD for an id without a token.
  std::string_view piece(int64_t id) const;

 private:
  void build(std::unordered_map<std::string, int64_t> vocabulary,
             const std::vector<std::pair<std::string, std::string>>& merges, bool whole);
  void add(std::vector<AddedToken> added);
  void encode_plain(std::string_view text, std::vector<int64_t>& ids) const;

  std::string where_;
  bool composes_ = true;  // NFC
  std::unique_ptr<Bpe> bpe_;
  std::vector<AddedToken> added_;  // longest first
  std::unordered_map<int64_t, std::string> pieces_;
  SpecialIds special_{};
  std::vector<std::string> forbidden_;
  int64_t rows_ = 0;
};

}  // namespace spar::c_api
