// Classes of characters and canonical composition, from tables/unicode.h.
#pragma once

#include <string>
#include <string_view>

namespace spar::c_api {

enum class Class { letter, number, space, other };  // \p{L}, \p{N}, \s of the tokenizer's regular expressions

Class class_of(char32_t point);

// Normalization form C.
std::u32string nfc(std::u32string_view text);

}  // namespace spar::c_api
