#include "c_api/split.h"

#include "c_api/unicode.h"

namespace spar::c_api {
namespace {

class Splitter {
 public:
  explicit Splitter(std::u32string_view text) : text_(text) {}

  // Length of the piece that begins at `at`: the first alternative of the pattern that fits.
  size_t length(size_t at) const {
    if (const size_t found = contraction(at)) return found;
    const Class first = kind(at);
    if (first == Class::letter) return run(at, Class::letter);
    const bool line_end = ends_line(at);
    if (first != Class::number && !line_end && is(at + 1, Class::letter)) return 1 + run(at + 1, Class::letter);
    if (first == Class::number) return 1;
    const size_t blank = text_[at] == U' ' && is(at + 1, Class::other);
    if (first == Class::other || blank) {
      size_t found = blank + run(at + blank, Class::other);
      while (ends_line(at + found)) ++found;
      return found;
    }
    const size_t spaces = run(at, Class::space);
    for (size_t i = spaces; i > 0; --i)  // up to the last line end among the blanks
      if (ends_line(at + i - 1)) return i;
    // Blanks before a word leave it the last one.
    return at + spaces == text_.size() || spaces == 1 ? spaces : spaces - 1;
  }

 private:
  Class kind(size_t at) const { return class_of(text_[at]); }
  bool is(size_t at, Class wanted) const { return at < text_.size() && kind(at) == wanted; }
  bool ends_line(size_t at) const { return at < text_.size() && (text_[at] == U'\r' || text_[at] == U'\n'); }
  size_t run(size_t at, Class wanted) const {
    size_t count = 0;
    while (is(at + count, wanted)) ++count;
    return count;
  }
  // ASCII letters without regard to case; the long s is an s.
  char32_t lower(size_t at) const {
    if (at >= text_.size()) return 0;
    const char32_t point = text_[at];
    if (point == 0x17F) return U's';
    return point >= U'A' && point <= U'Z' ? point + 32 : point;
  }
  size_t contraction(size_t at) const {
    if (text_[at] != U'\'') return 0;
    const char32_t one = lower(at + 1), two = lower(at + 2);
    if (one == U's' || one == U't' || one == U'm' || one == U'd') return 2;
    return (one == U'r' && two == U'e') || (one == U'v' && two == U'e') || (one == U'l' && two == U'l') ? 3 : 0;
  }

  std::u32string_view text_;
};

}  // namespace

std::vector<std::u32string_view> split_words(std::u32string_view text) {
  const Splitter splitter(text);
  std::vector<std::u32string_view> pieces;
  for (size_t at = 0; at < text.size();) {
    const size_t length = splitter.length(at);
    pieces.push_back(text.substr(at, length));
    at += length;
  }
  return pieces;
}

}  // namespace spar::c_api
