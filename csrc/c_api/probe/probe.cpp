// spar_probe COMMAND [ARGUMENT]: one piece of the C library at a time, for tests that compare it with Python.
//
// Reads records from standard input, a length (4 bytes, little-endian) and as many bytes each, and answers each with
// one:
// `+` and the result, or `-` and the words of an error. Numbers in a request are text, blanks between; arrays follow a
// line end as raw bytes.
#include <cstdio>
#include <cstring>
#include <functional>
#include <map>
#include <sstream>

#include "c_api/answer.h"
#include "c_api/checkpoint.h"
#include "c_api/error.h"
#include "c_api/json.h"
#include "c_api/names.h"
#include "c_api/noise.h"
#include "c_api/pictures.h"
#include "c_api/prompts.h"
#include "c_api/schedule.h"
#include "c_api/split.h"
#include "c_api/unicode.h"
#include "c_api/utf8.h"

using namespace spar::c_api;

namespace {

using Command = std::function<std::string(std::string_view record)>;

template <class T>
std::string raw(const std::vector<T>& values) {
  return {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T)};
}

template <class T>
std::string listed(const std::vector<T>& values) {
  std::ostringstream text;
  for (size_t i = 0; i < values.size(); ++i) text << (i ? " " : "") << values[i];
  return text.str();
}

// The line of numbers before an array, and the array.
struct Request {
  std::istringstream line;
  std::string_view array;

  explicit Request(std::string_view record)
      : line(std::string(record.substr(0, record.find('\n')))),
        array(record.substr(std::min(record.find('\n'), record.size() - 1) + 1)) {}
  int64_t whole() {
    int64_t value = 0;
    line >> value;
    return value;
  }
  template <class T>
  std::vector<T> values() const {
    std::vector<T> made(array.size() / sizeof(T));
    if (!made.empty()) std::memcpy(made.data(), array.data(), made.size() * sizeof(T));
    return made;
  }
  Bytes picture() {
    const int64_t height = whole(), width = whole();
    return checked_picture(reinterpret_cast<const uint8_t*>(array.data()), width, height, 0);
  }
};

std::string described(const std::string& directory) {
  const Checkpoint checkpoint(directory, "");
  const ModelConfig& config = checkpoint.config();
  const auto components = config.components();
  std::ostringstream text;
  text.precision(17);
  text << "name " << config.name << "\n";
  for (const auto& [name, value] : components.numbers) text << name << " " << value << "\n";
  for (const auto& [name, values] : components.lists) text << name << " [" << listed(values) << "]\n";
  text << "guidance_scale " << config.guidance_scale << "\nlatent_scale " << config.latent_scale << "\nquery_count "
       << config.query_count << "\nimage_token_id " << config.image_token_id << "\nsampler " << config.sampler.euler
       << " " << config.sampler.shift << " " << config.sampler.train_steps << "\n";
  return text.str();
}

std::string scheduled(Request request) {
  SamplerShape sampler;
  std::string kind;
  request.line >> kind >> sampler.shift >> sampler.train_steps;
  sampler.euler = kind == "euler";
  const Schedule plan = schedule(sampler, request.whole());
  return raw(plan.sigmas) + raw(plan.timesteps) + raw(plan.a) + raw(plan.b) + raw(plan.c);
}

// Three texts, 0 bytes between: kind, and what it takes.
std::string prompted(const Prompts& prompts, std::string_view record) {
  std::vector<std::string> parts;
  for (size_t at = 0; at <= record.size();) {
    const size_t end = std::min(record.find('\0', at), record.size());
    parts.emplace_back(record.substr(at, end - at));
    at = end + 1;
  }
  const std::string kind = parts.at(0);
  if (kind == "generation" || kind == "edit") {
    const std::string* text = parts.size() > 1 ? &parts[1] : nullptr;
    const Prompt made = kind == "edit" ? prompts.edit(text, "prompt") : prompts.generation(text, "prompt");
    return listed(made.ids) + "|" + std::to_string(made.shared);
  }
  std::vector<std::pair<std::string, std::string>> history;
  for (size_t i = 2; i + 2 < parts.size(); i += 2) history.emplace_back(parts[i], parts[i + 1]);
  const Chat made = prompts.chat(parts.back(), history, static_cast<size_t>(std::stoi(parts.at(1))), 10);
  return listed(made.ids) + "|" + listed(made.cuts);
}

// Commands that read files are there only where they are asked for.
std::map<std::string, Command> commands(const std::string& name, const std::string& argument) {
  std::map<std::string, Command> made;
  made["json"] = [](std::string_view record) { return parse_json(record).shown(); };
  made["safetensors"] = [](std::string_view record) { return std::to_string(read_header("file", record).size()); };
  made["tokenizer.json"] = [](std::string_view record) {
    return listed(Tokenizer(record, "tokenizer.json").encode("It's <img>\n  42 words"));
  };
  made["canonical"] = [](std::string_view record) { return canonical(std::string(record)); };
  made["nfc"] = [](std::string_view record) { return to_utf8(nfc(to_points(record))); };
  made["split"] = [](std::string_view record) {
    std::vector<size_t> lengths;
    const std::u32string points = to_points(record);
    for (const auto piece : split_words(points)) lengths.push_back(piece.size());
    return listed(lengths);
  };
  made["utf8"] = [](std::string_view record) {
    Utf8Stream stream;
    std::string text;
    for (const char byte : record) text += stream.push({&byte, 1});
    return text + stream.close();
  };
  made["floats"] = [argument](std::string_view record) {
    const std::map<std::string, Dtype> kinds = {{"F64", Dtype::f64},         {"F32", Dtype::f32},
                                                {"F16", Dtype::f16},         {"BF16", Dtype::bf16},
                                                {"F8_E4M3", Dtype::f8_e4m3}, {"F8_E5M2", Dtype::f8_e5m2}};
    const Dtype kind = kinds.at(argument);
    std::vector<float> values(record.size() / static_cast<size_t>(bytes_of(kind)));
    read_floats(record.data(), kind, static_cast<int64_t>(values.size()), values.data());
    return raw(values);
  };
  made["config"] = [](std::string_view record) { return described(std::string(record)); };
  made["noise"] = [](std::string_view record) {
    std::istringstream line{std::string(record)};
    uint64_t seed = 0;
    uint32_t index = 0;
    int64_t size = 0;
    line >> seed >> index >> size;
    return raw(noise(seed, index, size)) + raw(std::vector<double>{uniform(seed, index)});
  };
  made["schedule"] = [](std::string_view record) { return scheduled(Request(record)); };
  made["bicubic"] = [](std::string_view record) {
    Request request(record);
    const Bytes picture = request.picture();
    const int64_t height = request.whole(), width = request.whole();
    return raw(bicubic(picture, height, width).data);
  };
  made["edit_pixels"] = [](std::string_view record) {
    Request request(record);
    const Bytes picture = request.picture();
    return raw(edit_pixels(picture, request.whole()));
  };
  made["reconstruct_pixels"] = [](std::string_view record) {
    Request request(record);
    const Bytes picture = request.picture();
    return raw(reconstruct_pixels(picture, request.whole()));
  };
  made["chat_pixels"] = [](std::string_view record) {
    Request request(record);
    const Bytes picture = request.picture();
    const int64_t size = request.whole(), tiles = request.whole();
    std::string all;
    for (const auto& tile : chat_pixels(picture, size, tiles)) all += raw(tile);
    return all;
  };
  made["generated"] = [](std::string_view record) {
    Request request(record);
    const int64_t rows = request.whole(), columns = request.whole(), full = request.whole();
    return raw(generated_picture(request.values<float>(), rows, columns, full != 0).data);
  };
  made["reconstructed"] = [](std::string_view record) {
    Request request(record);
    const int64_t rows = request.whole(), columns = request.whole();
    return raw(reconstructed_picture(request.values<float>(), rows, columns).data);
  };
  made["choose"] = [](std::string_view record) {
    Request request(record);
    double temperature = 0, top_p = 1;
    request.line >> temperature >> top_p;
    const int64_t seed = request.whole(), drawn = request.whole();
    return std::to_string(
        choose(request.values<float>(), temperature, top_p, static_cast<uint64_t>(seed), static_cast<uint32_t>(drawn)));
  };
  if (name == "tokens")
    made["tokens"] = [tokenizer = std::make_shared<Tokenizer>(Tokenizer::open(argument))](std::string_view record) {
      return listed(tokenizer->encode(record));
    };
  if (name == "text")
    made["text"] = [tokenizer = std::make_shared<Tokenizer>(Tokenizer::open(argument))](std::string_view record) {
      Request request(record);
      std::string bytes;
      for (const int64_t id : request.values<int64_t>()) bytes += tokenizer->piece(id);
      Utf8Stream stream;
      const std::string text = stream.push(bytes);
      return text + stream.close();
    };
  if (name == "prompt")
    made["prompt"] = [checkpoint = std::make_shared<Checkpoint>(argument, ""),
                      tokenizer = std::make_shared<Tokenizer>(Tokenizer::open(argument)),
                      prompts = std::shared_ptr<Prompts>()](std::string_view record) mutable {
      if (!prompts) {
        tokenizer->check(checkpoint->config().language.whole("vocab_size"), checkpoint->config().image_token_id);
        prompts = std::make_shared<Prompts>(*tokenizer, checkpoint->config());
      }
      return prompted(*prompts, record);
    };
  return made;
}

std::string answered(const Command& command, std::string_view record) {
  try {
    return "+" + command(record);
  } catch (const std::exception& error) {
    return std::string("-") + error.what();
  }
}

}  // namespace

int main(int argc, char** argv) {
  const std::string name = argc > 1 ? argv[1] : "", argument = argc > 2 ? argv[2] : "";
  const auto all = commands(name, argument);
  const auto place = all.find(name);
  if (place == all.end()) {
    std::fprintf(stderr, "spar_probe: command '%s' is unknown\n", name.c_str());
    return 2;
  }
  uint32_t length = 0;
  std::string record;
  while (std::fread(&length, 4, 1, stdin) == 1) {
    record.resize(length);
    if (length && std::fread(record.data(), 1, length, stdin) != length) return 2;
    const std::string text = answered(place->second, record);
    const auto size = static_cast<uint32_t>(text.size());
    std::fwrite(&size, 4, 1, stdout);
    std::fwrite(text.data(), 1, text.size(), stdout);
    std::fflush(stdout);
  }
  return 0;
}
