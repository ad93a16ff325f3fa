// One loaded model: checkpoint, tokenizer, prompts and components, and what every task needs of them.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "c_api/checkpoint.h"
#include "c_api/prompts.h"
#include "c_api/runner.h"
#include "c_api/tokenizer.h"

namespace spar::c_api {

// The language model after some tokens.
struct TextState {
  std::shared_ptr<cpu::Cache> cache;
  int64_t tokens = 0;
};

class Engine {
 public:
  Engine(const std::string& directory, const std::string& dit_position, const std::string& precision, int threads,
         bool pin, const std::string& isa);

  const ModelConfig& config() const { return checkpoint_.config(); }
  const Tokenizer& tokenizer() const { return tokenizer_; }
  const Prompts& prompts() const { return prompts_; }
  Runner& runner() { return runner_; }
  const Runner& runner() const { return runner_; }
  // [query_count, width]
  const std::vector<float>& queries() const { return queries_; }
  // Packs every component that the checkpoint has.
  void prepare();

  // Embedded ids, [n, width]; the rows of image tokens are `features` in order.
  std::vector<float> embed(const Ids& ids, const std::vector<float>& features) const;
  // The row of one id, [width].
  void embed_token(int64_t id, float* row) const;
  // Visual tokens of normalised square tiles, [tiles * tokens, width]; run one by one.
  std::vector<float> look(const std::vector<std::vector<float>>& tiles, int64_t side, Flag cancel);
  // Runs `tokens` embedded rows after `state`, which grows. Returns the hidden levels of the wanted rows,
  // [levels, rows, width].
  std::vector<float> read(TextState& state, const float* embeds, int64_t tokens, const std::vector<int64_t>& rows,
                          Flag cancel);
  // A tokenizer latent [channels, height, width] to a picture [3, rows, columns].
  std::vector<float> decode(const std::vector<float>& latent, int64_t height, int64_t width, Flag cancel);

 private:
  Checkpoint checkpoint_;
  Tokenizer tokenizer_;
  Prompts prompts_;
  Runner runner_;
  std::vector<float> queries_;
};

}  // namespace spar::c_api
