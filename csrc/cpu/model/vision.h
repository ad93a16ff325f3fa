// InternViT tower, 2x2 pixel shuffle and projector (spec 3.1, 3.2); image tokenizer streams (spec 3.3).
#pragma once

#include "model/encoder.h"

namespace spar::cpu {

class Vision : public Component {
 public:
  Vision(const Config& config, Loader& load);
  void run(Run& run, const Inputs& inputs, Outputs& outputs) const override;

 private:
  void embed(Run& run, const float* pixels, const View& x, int64_t tiles, int64_t rows, int64_t columns) const;
  std::vector<float> positions(int64_t rows, int64_t columns) const;

  EncoderShape shape_;
  int64_t grid_, patch_;
  PackedLinear patches_;
  const float *class_token_, *positions_;  // [width], [1 + grid * grid, width]
  std::vector<EncoderLayer> layers_;
  NormedMlp projector_;
};

class Streams : public Component {
 public:
  Streams(const Config& config, Loader& load);
  void run(Run& run, const Inputs& inputs, Outputs& outputs) const override;

 private:
  struct Branch {
    std::vector<NormedMlp> blocks;
    NormedMlp down;
  };
  static Branch branch(Loader& load, const std::string& blocks, const std::string& down, int64_t count);

  bool dual_;
  EncoderShape shape_;
  Branch semantic_, pixel_;  // a single stream is the first
  std::vector<EncoderLayer> layers_;
  NormedMlp fusion_;
};

}  // namespace spar::cpu
