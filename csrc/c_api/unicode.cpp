#include "c_api/unicode.h"

#include <algorithm>
#include <iterator>
#include <map>
#include <unordered_map>

#include "c_api/tables/unicode.h"

namespace spar::c_api {
namespace {

template <size_t n>
bool within(const Span (&spans)[n], char32_t point) {
  const auto place = std::upper_bound(std::begin(spans), std::end(spans), point,
                                      [](char32_t p, const Span& s) { return p < s.first; });
  return place != std::begin(spans) && point <= std::prev(place)->last;
}

int combining(char32_t point) {
  if (point < 0x300) return 0;
  const auto place = std::upper_bound(std::begin(kCombining), std::end(kCombining), point,
                                      [](char32_t p, const CombiningSpan& s) { return p < s.first; });
  return place != std::begin(kCombining) && point <= std::prev(place)->last ? std::prev(place)->number : 0;
}

// Hangul syllables are computed (Unicode 3.12): 19 leading, 21 vowels, 27 trailing and none.
constexpr char32_t kSyllables = 0xAC00, kLeading = 0x1100, kVowels = 0x1161, kTrailing = 0x11A7;
constexpr char32_t kVowelCount = 21, kTrailingCount = 28, kSyllableCount = 19 * kVowelCount * kTrailingCount;

void decompose(char32_t point, std::u32string& to) {
  if (point - kSyllables < kSyllableCount) {
    const char32_t index = point - kSyllables;
    to.push_back(kLeading + index / (kVowelCount * kTrailingCount));
    to.push_back(kVowels + index / kTrailingCount % kVowelCount);
    if (index % kTrailingCount) to.push_back(kTrailing + index % kTrailingCount);
    return;
  }
  const auto place = point < 0xC0 ? std::end(kDecompositions)
                                  : std::lower_bound(
                                        std::begin(kDecompositions), std::end(kDecompositions), point,
                                        [](const Decomposition& d, char32_t p) { return d.whole < p; });
  if (place == std::end(kDecompositions) || place->whole != point) return to.push_back(point);
  decompose(place->first, to);
  if (place->second) to.push_back(place->second);  // a second piece is never decomposed again, see the test
}

// The character that two make together, or 0.
char32_t composed(char32_t first, char32_t second) {
  if (first - kLeading < 19 && second - kVowels < kVowelCount)
    return kSyllables + ((first - kLeading) * kVowelCount + (second - kVowels)) * kTrailingCount;
  if (first - kSyllables < kSyllableCount && (first - kSyllables) % kTrailingCount == 0 &&
      second - kTrailing - 1 < kTrailingCount - 1)
    return first + (second - kTrailing);
  static const auto pairs = [] {
    std::unordered_map<uint64_t, char32_t> made;
    for (const Decomposition& d : kDecompositions)
      if (d.composes) made[static_cast<uint64_t>(d.first) << 32 | d.second] = d.whole;
    return made;
  }();
  const auto place = pairs.find(static_cast<uint64_t>(first) << 32 | second);
  return place == pairs.end() ? 0 : place->second;
}

}  // namespace

Class class_of(char32_t point) {
  if (within(kLetters, point)) return Class::letter;
  if (within(kNumbers, point)) return Class::number;
  return within(kSpaces, point) ? Class::space : Class::other;
}

std::u32string nfc(std::u32string_view text) {
  // Nothing below U+0300 combines with anything before it or is changed by itself.
  if (std::all_of(text.begin(), text.end(), [](char32_t point) { return point < 0x300; })) return std::u32string(text);
  std::u32string apart;
  for (const char32_t point : text) decompose(point, apart);
  for (size_t begin = 0; begin < apart.size();) {  // marks after a starter, by class
    size_t end = begin;
    while (end < apart.size() && combining(apart[end])) ++end;
    std::stable_sort(apart.begin() + static_cast<std::ptrdiff_t>(begin),
                     apart.begin() + static_cast<std::ptrdiff_t>(end),
                     [](char32_t a, char32_t b) { return combining(a) < combining(b); });
    begin = end + 1;
  }
  std::u32string made;
  size_t starter = std::u32string::npos;
  int last = 0;  // class of what was put after the starter
  for (const char32_t point : apart) {
    const int number = combining(point);
    if (starter != std::u32string::npos && (made.size() == starter + 1 || (last < number && last))) {
      if (const char32_t one = composed(made[starter], point)) {
        made[starter] = one;
        continue;
      }
    }
    if (!number) starter = made.size();
    last = number;
    made.push_back(point);
  }
  return made;
}

}  // namespace spar::c_api
