// Dynamic Token Routing (spec 2.3) as the model runs it: packed weights, rows of all levels at once.
#pragma once

#include "model/run.h"

namespace spar::cpu {

struct Routing {
  PackedLinear first, second;  // of the router: SiLU between them
  PackedLinear out;            // after the norm of the mixed rows
  const float *scales = nullptr, *norm_weight = nullptr, *norm_bias = nullptr;
  float temperature = 1.0f;

  int64_t depth() const { return second.n; }
  // levels  f32 or bf16 [depth * batch * rows, width], level after level; the last one drives the router
  // to      [batch * rows, width]
  void run(Run& run, const View& levels, int64_t batch, int64_t rows, const View& to) const;
};

}  // namespace spar::cpu
