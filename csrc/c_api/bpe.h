// Byte pair encoding over the bytes of a piece of text: pairs are merged by rank, the leftmost of equal ones first.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace spar::c_api {

// GPT-2's alphabet writes every byte as one printable character: the UTF-8 of that character, and back from a token to
// its bytes. A token with foreign characters stands for itself.
std::string letter_of(unsigned char byte);
std::string written(const std::string& token);

class Bpe {
 public:
  // vocabulary  token in the alphabet -> id; every single byte must be there
  // merges      pairs of tokens, best first; CheckpointError, naming `where`, for one that is not in the vocabulary
  // whole       a piece that is a token by itself is not split
  Bpe(std::unordered_map<std::string, int64_t> vocabulary,
      const std::vector<std::pair<std::string, std::string>>& merges, bool whole, const std::string& where);

  void encode(std::string_view piece, std::vector<int64_t>& ids) const;
  // Id of a token of the vocabulary, -1 for none.
  int64_t find(const std::string& token) const;

 private:
  struct Merge {
    uint32_t rank;
    int64_t id;
  };
  struct PairHash {
    size_t operator()(const std::pair<int64_t, int64_t>& pair) const {
      return static_cast<size_t>(static_cast<uint64_t>(pair.first) * 0x9E3779B97F4A7C15u ^
                                 static_cast<uint64_t>(pair.second));
    }
  };

  std::unordered_map<std::string, int64_t> vocabulary_;
  std::unordered_map<std::pair<int64_t, int64_t>, Merge, PairHash> merges_;
  std::vector<int64_t> bytes_;
  bool whole_;
};

}  // namespace spar::c_api
