// UTF-8 to code points and back; a decoder that is fed byte by byte.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace spar::c_api {

inline constexpr char32_t kReplacement = 0xFFFD;

// One step over `bytes` from `at`: a code point and its length; or, where no valid one begins there, the length of the
// longest piece that could have begun one (at least 1; Unicode 3.9, "maximal subpart"), with `valid` false.
struct Utf8Step {
  char32_t point = kReplacement;
  size_t length = 1;
  bool valid = false;
  bool cut = false;  // the piece ends with the text: more bytes could complete it
};
Utf8Step utf8_step(std::string_view bytes, size_t at);

// Place of the first byte that is not UTF-8, or npos. Surrogates and what is above U+10FFFF are not.
size_t utf8_fault(std::string_view bytes);

void append_utf8(std::string& to, char32_t point);
std::u32string to_points(std::string_view valid);
std::string to_utf8(std::u32string_view points);
// Code points of valid text.
size_t count_points(std::string_view valid);

// Bytes in any pieces to valid text: whole characters come out as soon as they are complete, and what can no longer
// become one is U+FFFD, as Python's incremental decoder with errors="replace" has it.
class Utf8Stream {
 public:
  std::string push(std::string_view bytes);
  std::string close();

 private:
  std::string left_;
};

}  // namespace spar::c_api
