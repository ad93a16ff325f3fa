#include "c_api/probe/fuzz.h"

#include <memory>

#include "c_api/bpe.h"
#include "c_api/error.h"
#include "c_api/json.h"
#include "c_api/safetensors.h"
#include "c_api/split.h"
#include "c_api/tokenizer.h"
#include "c_api/unicode.h"
#include "c_api/utf8.h"

using namespace spar::c_api;

namespace {

// A tokenizer of single bytes, as engine/text/qwen2.py makes it.
const Tokenizer& byte_tokenizer() {
  static const auto made = [] {
    std::string words;
    for (int byte = 0; byte < 256; ++byte) {
      const std::string letter = letter_of(static_cast<unsigned char>(byte));
      words += (byte ? ", \"" : "\"") + std::string(letter == "\"" || letter == "\\" ? "\\" : "") + letter +
               "\": " + std::to_string(byte);
    }
    return std::make_unique<Tokenizer>("{" + words + "}", "", "{\"<img>\": 256}", "", "bytes");
  }();
  return *made;
}

void parse(int parser, std::string_view data) {
  try {
    switch (parser % 6) {
      case 0: parse_json(data).shown(); return;
      case 1: read_header("file", data); return;
      case 2: Tokenizer(data, "tokenizer.json").encode("It's <img> 42"); return;
      case 3: Tokenizer("{}", data, "{}", {}, "files"); return;
      case 4:
        if (utf8_fault(data) == std::string_view::npos) byte_tokenizer().encode(data);
        return;
      default: {
        Utf8Stream stream;
        for (const char byte : data) stream.push({&byte, 1});
        stream.close();
      }
    }
  } catch (const JsonError&) {
  } catch (const CheckpointError&) {
  }
}

}  // namespace

int LLVMFuzzerTestOneInput(const unsigned char* data, size_t size) {
  if (size) parse(data[0], {reinterpret_cast<const char*>(data) + 1, size - 1});
  return 0;
}
