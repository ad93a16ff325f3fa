// Questions: prefill, then one token at a time.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "c_api/engine.h"

namespace spar::c_api {

struct Question {
  Chat chat;
  std::vector<std::vector<float>> tiles;  // normalised, [3, side, side]; none without a picture
  int64_t max_new_tokens = 256;
  double temperature = 0.0;  // 0: greedy
  double top_p = 1.0;
  uint64_t seed = 0;
  std::function<void(const std::string& text)> on_text;  // may be empty; throws Cancelled to stop
  Flag cancel = nullptr;
};

struct Answer {
  std::string text;
  Ids tokens;
  bool finished = false;  // a stop token came before max_new_tokens
};

Answer answer(Engine& engine, const Question& question);

// The next token by the logits: the largest, or number `drawn` of the seed's draws. Ties go to the lower id.
int64_t choose(const std::vector<float>& logits, double temperature, double top_p, uint64_t seed, uint32_t drawn);

}  // namespace spar::c_api
