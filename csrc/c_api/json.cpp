#include "c_api/json.h"

#include <charconv>
#include <limits>
#include <unordered_set>

#include "c_api/utf8.h"

namespace spar::c_api {
namespace {

constexpr int kDeepest = 100;

class JsonReader {
 public:
  explicit JsonReader(std::string_view text) : text_(text) {}

  Json whole() {
    Json made = value(0);
    blanks();
    if (at_ != text_.size()) fail("something follows the end");
    return made;
  }

 private:
  [[noreturn]] void fail(const std::string& what) const {
    throw JsonError(what + " at byte " + std::to_string(at_) + " of " + std::to_string(text_.size()));
  }

  void blanks() {
    while (at_ < text_.size() && std::string_view(" \t\r\n").find(text_[at_]) != std::string_view::npos) ++at_;
  }

  char peek() const {
    if (at_ >= text_.size()) fail("the text ends too early");
    return text_[at_];
  }

  bool take(std::string_view word) {
    if (text_.substr(at_, word.size()) != word) return false;
    at_ += word.size();
    return true;
  }

  Json value(int depth) {
    blanks();
    if (depth > kDeepest) fail("more than " + std::to_string(kDeepest) + " levels");
    constexpr double infinity = std::numeric_limits<double>::infinity();
    switch (peek()) {
      case '{': return object(depth);
      case '[': return list(depth);
      case '"': return {string()};
      default: break;
    }
    if (take("null")) return {};
    if (take("true")) return {true};
    if (take("false")) return {false};
    if (take("NaN")) return {std::numeric_limits<double>::quiet_NaN()};
    if (take("Infinity")) return {infinity};
    if (take("-Infinity")) return {-infinity};
    return number();
  }

  Json object(int depth) {
    Json::Object made;
    std::unordered_set<std::string> seen;
    ++at_;
    blanks();
    if (take("}")) return {std::move(made)};
    while (true) {
      blanks();
      if (peek() != '"') fail("a key must be text");
      std::string key = string();
      if (!seen.insert(key).second) fail("the key `" + key.substr(0, 80) + "` is there twice");
      blanks();
      if (!take(":")) fail("a key must be followed by `:`");
      made.emplace_back(std::move(key), value(depth + 1));
      blanks();
      if (take("}")) return {std::move(made)};
      if (!take(",")) fail("an object needs `,` or `}`");
    }
  }

  Json list(int depth) {
    Json::List made;
    ++at_;
    blanks();
    if (take("]")) return {std::move(made)};
    while (true) {
      made.push_back(value(depth + 1));
      blanks();
      if (take("]")) return {std::move(made)};
      if (!take(",")) fail("a list needs `,` or `]`");
    }
  }

  unsigned hex() {
    if (text_.size() - at_ < 4) fail("a \\u escape is cut short");
    unsigned code = 0;
    for (int i = 0; i < 4; ++i) {
      const char c = text_[at_];
      const int digit = c >= '0' && c <= '9'   ? c - '0'
                        : c >= 'a' && c <= 'f' ? c - 'a' + 10
                        : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                               : -1;
      if (digit < 0) fail("a \\u escape needs four hexadecimal digits");
      code = code << 4 | static_cast<unsigned>(digit);
      ++at_;
    }
    return code;
  }

  void escape(std::string& to) {
    const char kind = peek();
    ++at_;
    static constexpr std::string_view from = "\"\\/bfnrt", plain = "\"\\/\b\f\n\r\t";
    if (const size_t place = from.find(kind); place != std::string_view::npos) {
      to.push_back(plain[place]);
      return;
    }
    if (kind != 'u') fail("an unknown escape");
    char32_t code = hex();
    if (code >= 0xD800 && code < 0xDC00 && take("\\u")) {
      const unsigned low = hex();
      if (low < 0xDC00 || low > 0xDFFF) fail("a lone surrogate");
      code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00);
    }
    if (code >= 0xD800 && code <= 0xDFFF) fail("a lone surrogate");
    append_utf8(to, code);
  }

  std::string string() {
    std::string made;
    ++at_;
    while (true) {
      const unsigned char c = static_cast<unsigned char>(peek());
      if (c == '"') {
        ++at_;
        return made;
      }
      if (c < 0x20) fail("a control character in text");
      if (c == '\\') {
        ++at_;
        escape(made);
        continue;
      }
      const Utf8Step step = utf8_step(text_, at_);
      if (!step.valid) fail("a byte that is not UTF-8");
      made.append(text_.substr(at_, step.length));
      at_ += step.length;
    }
  }

  size_t digits() {
    size_t count = 0;
    for (; at_ < text_.size() && text_[at_] >= '0' && text_[at_] <= '9'; ++at_) ++count;
    return count;
  }

  Json number() {
    const size_t start = at_;
    bool real = false;
    take("-");
    const bool zero = at_ < text_.size() && text_[at_] == '0';
    const size_t before = digits();
    if (!before) fail("no value begins here");
    if (zero && before > 1) fail("a number with a leading zero");
    if (take(".")) {
      real = true;
      if (!digits()) fail("a number without digits after its point");
    }
    if (take("e") || take("E")) {
      real = true;
      if (!take("+")) take("-");
      if (!digits()) fail("a number without digits in its exponent");
    }
    const char *first = text_.data() + start, *last = text_.data() + at_;
    int64_t exact = 0;
    if (!real && std::from_chars(first, last, exact).ec == std::errc()) return {exact};
    double found = 0;
    if (std::from_chars(first, last, found).ec != std::errc()) fail("a number out of range");
    return {found};
  }

  std::string_view text_;
  size_t at_ = 0;
};

void show(const Json& json, std::string& to) {
  if (to.size() > 120) return;
  if (json.null()) to += "null";
  if (const auto* flag = json.as<bool>()) to += *flag ? "true" : "false";
  if (const auto* number = json.as<int64_t>()) to += std::to_string(*number);
  if (const auto* number = json.as<double>()) {
    char digits[32];
    to.append(digits, std::to_chars(digits, digits + sizeof digits, *number).ptr);
  }
  if (const auto* text = json.as<std::string>()) to += "'" + *text + "'";
  if (const auto* list = json.as<Json::List>()) {
    to += "[";
    for (size_t i = 0; i < list->size() && to.size() <= 120; ++i) {
      if (i) to += ", ";
      show((*list)[i], to);
    }
    to += "]";
  }
  if (json.as<Json::Object>()) to += "{...}";
}

}  // namespace

const Json* Json::find(std::string_view name) const {
  const auto* object = as<Object>();
  if (!object) return nullptr;
  for (const auto& [key, item] : *object)
    if (key == name) return &item;
  return nullptr;
}

const char* Json::kind() const {
  static constexpr const char* names[] = {"null", "boolean", "number", "number", "text", "list", "object"};
  return names[value.index()];
}

std::string Json::shown() const {
  std::string text;
  show(*this, text);
  for (char& c : text)
    if (static_cast<unsigned char>(c) < 0x20) c = ' ';
  if (text.size() <= 120) return text;
  size_t cut = 117;
  while (cut && (static_cast<unsigned char>(text[cut]) & 0xC0) == 0x80) --cut;
  return text.substr(0, cut) + "...";
}

Json parse_json(std::string_view text) { return JsonReader(text).whole(); }

}  // namespace spar::c_api
