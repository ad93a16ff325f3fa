// The library for C under sanitizers: its parsers on damaged bytes, and on the bundled model requests, cancels and
// errors from several threads.
#include <algorithm>
#include <fstream>
#include <iterator>
#include <random>
#include <thread>

#include "c_api/probe/fuzz.h"
#include "spar.h"
#include "testing.h"

using namespace spar::testing;

namespace {

const std::string kModel = SPAR_MODEL;

std::string contents(const std::string& path, size_t most) {
  std::ifstream file(path, std::ios::binary);
  std::string text(std::istreambuf_iterator<char>(file), {});
  return text.substr(0, most);
}

const Registration damaged("the parsers of the C library end damaged bytes with words", [] {
  const std::string seeds[] = {contents(kModel + "/config.json", 1 << 20),
                               contents(kModel + "/tokenizer.json", 1 << 20),
                               contents(kModel + "/model.safetensors", 4096),
                               "{\"a\": {\"dtype\": \"F32\", \"shape\": [2], \"data_offsets\": [0, 8]}}",
                               "It's \xE4\xBD\xA0\xE5\xA5\xBD e\xCC\x81 <img>\n\n 42"};
  std::mt19937 random(5);
  const auto below = [&](size_t most) { return static_cast<size_t>(random()) % std::max<size_t>(most, 1); };
  for (int round = 0; round < 3000; ++round) {
    std::string data = seeds[below(std::size(seeds))];
    if (data.size() > 3000 && round % 20) data = data.substr(below(data.size() - 3000), 3000);
    for (size_t change = below(4); change > 0; --change) {
      const size_t at = below(data.size());
      if (data.empty()) break;
      switch (below(4)) {
        case 0: data[at] = static_cast<char>(data[at] ^ 1 << below(8)); break;
        case 1: data.erase(at, below(9)); break;
        case 2: data.insert(at, data.substr(at, below(30))); break;
        default: data.resize(at);
      }
    }
    for (unsigned char parser = 0; parser < 6; ++parser) {
      std::vector<unsigned char> input{parser};  // in memory of exactly its size
      input.insert(input.end(), data.begin(), data.end());
      input.shrink_to_fit();
      LLVMFuzzerTestOneInput(input.data(), input.size());
    }
  }
});

void succeed(spar_status status) { expect(status == SPAR_OK, spar_error()); }

std::vector<uint8_t> drawn(spar_engine* engine, uint64_t seed) {
  spar_draw_options options;
  spar_draw_options_init(&options);
  options.seed = seed;
  options.steps = 1;
  spar_images images;
  succeed(spar_generate(engine, "a red circle", &options, &images));
  std::vector<uint8_t> made(images.pixels, images.pixels + int64_t{3} * images.width * images.height);
  spar_images_free(&images);
  return made;
}

std::string answered(spar_engine* engine, const std::vector<uint8_t>& pixels, int side) {
  const spar_picture picture{pixels.data(), side, side, 0};
  spar_ask_options options;
  spar_ask_options_init(&options);
  options.max_new_tokens = 3;
  spar_answer answer;
  succeed(spar_ask(engine, &picture, "What is it?", &options, &answer));
  std::string text = answer.text;
  spar_answer_free(&answer);
  return text;
}

const Registration calls("the C library serves several threads, cancels and refuses", [] {
  spar_load_options load;
  spar_load_options_init(&load);
  load.threads = 2;
  spar_engine* engine = nullptr;
  expect(spar_load("/nowhere", &load, &engine) == SPAR_CHECKPOINT && !engine, "a directory that is not there");
  succeed(spar_load(kModel.c_str(), &load, &engine));
  spar_about about;
  succeed(spar_describe(engine, &about));
  std::vector<uint8_t> first;
  at_once(3, [&](int i) {  // the components are packed by whoever comes first
    const auto made = drawn(engine, 1);
    if (i == 0) first = made;
  });
  const std::string answer = answered(engine, first, about.picture_size);
  spar_cancel* cancel = nullptr;
  succeed(spar_cancel_create(&cancel));
  at_once(4, [&](int i) {
    if (i == 3) {
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
      spar_cancel_set(cancel);
      return;
    }
    if (i == 2) {
      spar_draw_options options;
      spar_draw_options_init(&options);
      options.steps = 1000;
      options.cancel = cancel;
      spar_images images;
      expect(spar_generate(engine, "a boat", &options, &images) == SPAR_CANCELLED && !images.pixels,
             "a cancel came too late");
      return;
    }
    expect(drawn(engine, 1) == first, "a picture differs when several are drawn");
    expect(answered(engine, first, about.picture_size) == answer, "an answer differs when several run");
    spar_images images;
    expect(spar_generate(engine, "<img>", nullptr, &images) == SPAR_INPUT, "a special token was taken");
    expect(std::string(spar_error()).find("special token") != std::string::npos, "an error of another thread");
  });
  spar_cancel_free(cancel);
  spar_close(engine);
});

}  // namespace
