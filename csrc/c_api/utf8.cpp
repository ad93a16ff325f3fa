#include "c_api/utf8.h"

namespace spar::c_api {

Utf8Step utf8_step(std::string_view bytes, size_t at) {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(bytes[i]); };
  const unsigned char first = byte(at);
  Utf8Step step;
  if (first < 0x80) return {first, 1, true, false};
  size_t more;
  unsigned least = 0x80, most = 0xBF;  // of the second byte: no overlong form, no surrogate, nothing above U+10FFFF
  if (first >= 0xC2 && first <= 0xDF) {
    more = 1;
  } else if (first >= 0xE0 && first <= 0xEF) {
    more = 2;
    if (first == 0xE0) least = 0xA0;
    if (first == 0xED) most = 0x9F;
  } else if (first >= 0xF0 && first <= 0xF4) {
    more = 3;
    if (first == 0xF0) least = 0x90;
    if (first == 0xF4) most = 0x8F;
  } else {
    return step;
  }
  char32_t point = first & (0x3Fu >> more);
  for (size_t i = 1; i <= more; ++i) {
    step.length = i;
    if (at + i >= bytes.size()) {
      step.cut = true;
      return step;
    }
    const unsigned next = byte(at + i);
    if (next < (i == 1 ? least : 0x80u) || next > (i == 1 ? most : 0xBFu)) return step;
    point = point << 6 | (next & 0x3F);
  }
  return {point, more + 1, true, false};
}

size_t utf8_fault(std::string_view bytes) {
  for (size_t at = 0; at < bytes.size();) {
    const Utf8Step step = utf8_step(bytes, at);
    if (!step.valid) return at;
    at += step.length;
  }
  return std::string_view::npos;
}

void append_utf8(std::string& to, char32_t p) {
  const auto put = [&](unsigned value) { to.push_back(static_cast<char>(value)); };
  if (p < 0x80) return put(p);
  if (p < 0x800) {
    put(0xC0 | p >> 6);
  } else {
    if (p < 0x10000) {
      put(0xE0 | p >> 12);
    } else {
      put(0xF0 | p >> 18);
      put(0x80 | (p >> 12 & 0x3F));
    }
    put(0x80 | (p >> 6 & 0x3F));
  }
  put(0x80 | (p & 0x3F));
}

std::u32string to_points(std::string_view valid) {
  std::u32string points;
  points.reserve(valid.size());
  for (size_t at = 0; at < valid.size();) {
    const Utf8Step step = utf8_step(valid, at);
    points.push_back(step.point);
    at += step.length;
  }
  return points;
}

std::string to_utf8(std::u32string_view points) {
  std::string text;
  for (const char32_t point : points) append_utf8(text, point);
  return text;
}

size_t count_points(std::string_view valid) {
  size_t count = 0;
  for (const char byte : valid) count += (static_cast<unsigned char>(byte) & 0xC0) != 0x80;
  return count;
}

std::string Utf8Stream::push(std::string_view bytes) {
  left_ += bytes;
  std::string text;
  size_t at = 0;
  while (at < left_.size()) {
    const Utf8Step step = utf8_step(left_, at);
    if (step.cut) break;
    append_utf8(text, step.point);
    at += step.length;
  }
  left_.erase(0, at);
  return text;
}

std::string Utf8Stream::close() {
  std::string text;
  if (!left_.empty()) append_utf8(text, kReplacement);
  left_.clear();
  return text;
}

}  // namespace spar::c_api
