#include "c_api/bpe.h"

#include <queue>
#include <tuple>

#include "c_api/error.h"
#include "c_api/utf8.h"

namespace spar::c_api {
namespace {

// Printable Latin-1 stands for itself, the other bytes count up from U+0100.
struct Alphabet {
  char32_t letters[256];
  int bytes[512];

  Alphabet() {
    for (int& byte : bytes) byte = -1;
    char32_t others = 0x100;
    for (int byte = 0; byte < 256; ++byte) {
      const bool plain = (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
      letters[byte] = plain ? static_cast<char32_t>(byte) : others++;
      bytes[letters[byte]] = byte;
    }
  }
};

const Alphabet& alphabet() {
  static const Alphabet made;
  return made;
}

}  // namespace

std::string letter_of(unsigned char byte) {
  std::string letter;
  append_utf8(letter, alphabet().letters[byte]);
  return letter;
}

std::string written(const std::string& token) {
  std::string found;
  for (const char32_t point : to_points(token)) {
    if (point >= 512 || alphabet().bytes[point] < 0) return token;
    found.push_back(static_cast<char>(alphabet().bytes[point]));
  }
  return found;
}

Bpe::Bpe(std::unordered_map<std::string, int64_t> vocabulary,
         const std::vector<std::pair<std::string, std::string>>& merges, bool whole, const std::string& where)
    : vocabulary_(std::move(vocabulary)), bytes_(256), whole_(whole) {
  for (int byte = 0; byte < 256; ++byte) {
    const auto place = vocabulary_.find(letter_of(static_cast<unsigned char>(byte)));
    if (place == vocabulary_.end())
      throw CheckpointError(where + ": its vocabulary lacks byte " + std::to_string(byte) +
                            "; only byte-level vocabularies are supported");
    bytes_[static_cast<size_t>(byte)] = place->second;
  }
  for (size_t rank = 0; rank < merges.size(); ++rank) {
    const auto& [first, second] = merges[rank];
    const auto left = vocabulary_.find(first), right = vocabulary_.find(second),
               both = vocabulary_.find(first + second);
    if (left == vocabulary_.end() || right == vocabulary_.end() || both == vocabulary_.end())
      throw CheckpointError(where + ": merge " + std::to_string(rank) +
                            " joins tokens that are not in the vocabulary; use files that belong together");
    merges_[{left->second, right->second}] = {static_cast<uint32_t>(rank), both->second};
  }
}

int64_t Bpe::find(const std::string& token) const {
  const auto place = vocabulary_.find(token);
  return place == vocabulary_.end() ? -1 : place->second;
}

void Bpe::encode(std::string_view piece, std::vector<int64_t>& ids) const {
  if (whole_) {
    std::string token;
    for (const char byte : piece) token += letter_of(static_cast<unsigned char>(byte));
    if (const int64_t id = find(token); id >= 0) return ids.push_back(id);
  }
  struct Symbol {
    int64_t id;
    std::ptrdiff_t before, after;  // neighbours, -1 at the ends
    bool gone;
  };
  std::vector<Symbol> symbols;
  const auto count = static_cast<std::ptrdiff_t>(piece.size());
  for (std::ptrdiff_t i = 0; i < count; ++i)
    symbols.push_back(
        {bytes_[static_cast<unsigned char>(piece[static_cast<size_t>(i)])], i - 1, i + 1 < count ? i + 1 : -1, false});
  using Wanted = std::tuple<uint32_t, std::ptrdiff_t, int64_t, int64_t>;  // rank, place, the two ids it was seen with
  std::priority_queue<Wanted, std::vector<Wanted>, std::greater<>> queue;
  const auto at = [&](std::ptrdiff_t i) -> Symbol& { return symbols[static_cast<size_t>(i)]; };
  const auto look = [&](std::ptrdiff_t left) {
    if (left < 0 || at(left).after < 0) return;
    const int64_t first = at(left).id, second = at(at(left).after).id;
    if (const auto place = merges_.find({first, second}); place != merges_.end())
      queue.emplace(place->second.rank, left, first, second);
  };
  for (std::ptrdiff_t i = 0; i + 1 < count; ++i) look(i);
  while (!queue.empty()) {
    const auto [rank, left, first, second] = queue.top();
    queue.pop();
    Symbol& symbol = at(left);
    if (symbol.gone || symbol.id != first || symbol.after < 0 || at(symbol.after).id != second) continue;
    Symbol& next = at(symbol.after);
    symbol.id = merges_.at({first, second}).id;
    next.gone = true;
    symbol.after = next.after;
    if (next.after >= 0) at(next.after).before = left;
    look(symbol.before);
    look(left);
  }
  for (std::ptrdiff_t i = count ? 0 : -1; i >= 0; i = at(i).after) ids.push_back(at(i).id);
}

}  // namespace spar::c_api
