// What a user wrote, as the ids that the model reads: checks, templates (spec 1.1 to 1.3), tokens.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "c_api/model_config.h"
#include "c_api/tokenizer.h"

namespace spar::c_api {

inline constexpr std::string_view kSegmentInstruction =
    "Segment the image: paint every object in its own distinct solid color.";

using Ids = std::vector<int64_t>;

// A prompt of a drawing: its ids, and how many leading ones other prompts of its kind share.
struct Prompt {
  Ids ids;
  size_t shared = 0;
};

// A question with its history: ids, and the lengths of the leading parts that a later question may have too, rising.
struct Chat {
  Ids ids;
  std::vector<size_t> cuts;
};

class Prompts {
 public:
  Prompts(const Tokenizer& tokenizer, const ModelConfig& config);

  // Every text must be valid UTF-8, not blank, and without special tokens, else InputError. Null: the unconditional
  // one.
  Prompt generation(const std::string* prompt, const char* name) const;
  Prompt edit(const std::string* instruction, const char* name) const;
  // tiles    of the picture, 0 without one
  // history  earlier questions and answers; the picture's place `<image>` may be in any question
  Chat chat(const std::string& question, std::span<const std::pair<std::string, std::string>> history, size_t tiles,
            size_t max_new_tokens) const;

 private:
  void check(const char* name, const std::string& text, bool may_hold_placeholder = false) const;
  Ids build(const char* name, const std::string& filled, size_t image_tokens, size_t reserve,
            const char* reserve_name) const;

  const Tokenizer& tokenizer_;
  size_t most_, queries_, image_tokens_;
  Ids shared_generation_, shared_edit_;
};

}  // namespace spar::c_api
