// Elementary functions on vectors, to about one unit in the last place of float32.
#pragma once

#include "core/simd.h"

namespace spar::cpu::ENGINE_ISA {

// e^x. Arguments are clamped to the range of normal results; NaN stays NaN.
inline F32 exp(F32 x) {
  x = min(set1(88.3762589f), max(set1(-87.3365402f), x));
  const F32 n = round(x * set1(1.44269504f));
  F32 r = fma(n, set1(-0.693359375f), x);
  r = fma(n, set1(2.12194440e-4f), r);
  // Own least-maximum fit of (e^r - 1 - r) / r^2 for |r| <= ln(2)/2.
  F32 p = fma(r, set1(1.979031222e-04f), set1(1.394468825e-03f));
  p = fma(p, r, set1(8.333497681e-03f));
  p = fma(p, r, set1(4.166629538e-02f));
  p = fma(p, r, set1(1.666666567e-01f));
  p = fma(p, r, set1(5.000000000e-01f));
  return scale2(fma(p, r * r, r) + set1(1.0f), n);
}

inline F32 sigmoid(F32 x) { return set1(1.0f) / (set1(1.0f) + exp(set1(0.0f) - x)); }
inline F32 silu(F32 x) { return x / (set1(1.0f) + exp(set1(0.0f) - x)); }

// Own least-maximum fits: (erf(x)/x - 1) in x^2 below 1, log(erfc(x)) from 1 to 4. Largest error 8.6e-8, relative.
inline F32 erf(F32 x) {
  const F32 s = x * x, t = min(set1(4.0f), abs(x));
  F32 near = fma(s, set1(7.889122935e-5f), set1(-8.020842215e-4f));
  near = fma(near, s, set1(5.189535674e-3f));
  near = fma(near, s, set1(-2.685444430e-2f));
  near = fma(near, s, set1(1.128360033e-1f));
  near = fma(near, s, set1(-3.761262596e-1f));
  near = fma(near, s, set1(1.283791661e-1f));
  near = fma(near, x, x);
  F32 far = fma(t, set1(-2.168676292e-5f), set1(4.413352872e-4f));
  far = fma(far, t, set1(-4.204556346e-3f));
  far = fma(far, t, set1(2.520824037e-2f));
  far = fma(far, t, set1(-1.084185406e-1f));
  far = fma(far, t, set1(-6.332198977e-1f));
  far = fma(far, t, set1(-1.129578352e0f));
  far = fma(far, t, set1(1.880370546e-4f));
  return where_less(t, set1(1.0f), near, with_sign(set1(1.0f) - exp(far), x));
}

inline F32 gelu_erf(F32 x) { return x * set1(0.5f) * (set1(1.0f) + erf(x * set1(0.707106781f))); }

// 0.5 x (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3)))
inline F32 gelu_tanh(F32 x) {
  const F32 inner = x * fma(x * x, set1(0.0713548163f), set1(1.59576912f));
  return x * sigmoid(inner);
}

}  // namespace spar::cpu::ENGINE_ISA
