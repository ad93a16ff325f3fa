// Qwen2's split of a text into words, digits, punctuation and blanks.
#pragma once

#include <string_view>
#include <vector>

namespace spar::c_api {

// The regular expression that `split_words` stands for; a tokenizer.json with another one is refused.
inline constexpr std::string_view kSplitPattern =
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| "
    "?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";

// The pieces of `text`, one after another; together they are all of it.
std::vector<std::u32string_view> split_words(std::u32string_view text);

}  // namespace spar::c_api
