// Classifier-free guidance and one step of the solver.
//
//   velocity    [branches, images, size]  f32 or bf16   unconditional branch first; or the only one
//   guidance    [images]                  f32           strength, read where branches is 2
//   table       [steps, 4]                f32           sigma, a, b, c of every step; row `step` is used
//   latent      [images, size]            f32
//   data        [images, size]            f32           in: prediction of the step before, not read where c is 0;
//                                                       out: latent - sigma * v
//   out         [images, size]            f32           a * latent + b * data + c * data of the step before; may be latent
//   model_input [images, size]            bf16          out, rounded; null: not wanted
//
// v = v_u + guidance * (v_c - v_u). Error and oracle: engine/oracle/guide_and_step.py.
#pragma once

#include <cstdint>

#include "engine/real.h"

namespace spar {

struct GuideAndStep {
  Reals velocity;
  const float *guidance, *table, *latent;
  float *data, *out;
  uint16_t* model_input;  // bf16 bits
  int64_t branches, images, size, step;
};

}  // namespace spar
