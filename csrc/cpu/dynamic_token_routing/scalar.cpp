#include <math.h>

#include "core/types.h"
#include "engine/dynamic_token_routing.h"
#include "scratch.h"
#include "with_type.h"

namespace spar {
namespace {

float widen(float x) { return x; }
float widen(cpu::bf16 x) { return cpu::to_f32(x); }
void narrow(float x, float* to) { *to = x; }
void narrow(float x, cpu::bf16* to) { *to = cpu::to_bf16(x); }

template <class W>
float dot(const float* x, const W* w, int64_t size) {
  float sum = 0;
  for (int64_t i = 0; i < size; ++i) sum += x[i] * widen(w[i]);
  return sum;
}

float silu(float x) { return x / (1 + expf(-x)); }

void softmax(float* x, int64_t size, float temperature) {
  float largest = -INFINITY, sum = 0;
  for (int64_t i = 0; i < size; ++i) largest = fmaxf(largest, x[i] /= temperature);
  for (int64_t i = 0; i < size; ++i) sum += x[i] = expf(x[i] - largest);
  for (int64_t i = 0; i < size; ++i) x[i] /= sum;
}

void layer_norm(float* x, int64_t size, const float* weight, const float* bias, float eps) {
  float mean = 0, variance = 0;
  for (int64_t i = 0; i < size; ++i) mean += x[i];
  mean /= static_cast<float>(size);
  for (int64_t i = 0; i < size; ++i) variance += (x[i] - mean) * (x[i] - mean);
  const float inverse = 1 / sqrtf(variance / static_cast<float>(size) + eps);
  for (int64_t i = 0; i < size; ++i) x[i] = (x[i] - mean) * inverse * weight[i] + bias[i];
}

template <class A, class W>
void run(const DynamicTokenRouting& args) {
  const auto* levels = static_cast<const A*>(args.levels.data);
  const auto* w1 = static_cast<const W*>(args.w1.data);
  const auto* w2 = static_cast<const W*>(args.w2.data);
  const auto* project = static_cast<const W*>(args.proj_weight.data);
  const int64_t depth = args.depth, width = args.width, hidden = args.hidden;
  float* mixed = thread_scratch(width + hidden + depth);
  float *inner = mixed + width, *weights = inner + hidden;
  for (int64_t token = 0; token < args.tokens; ++token) {
    const auto level = [&](int64_t k) { return levels + k * args.level_stride + token * width; };
    for (int64_t i = 0; i < width; ++i) mixed[i] = widen(level(depth - 1)[i]);
    for (int64_t j = 0; j < hidden; ++j) inner[j] = silu(dot(mixed, w1 + j * width, width) + args.b1[j]);
    for (int64_t k = 0; k < depth; ++k) weights[k] = dot(inner, w2 + k * hidden, hidden) + args.b2[k];
    softmax(weights, depth, args.temperature);
    for (int64_t i = 0; i < width; ++i) {
      float sum = 0;
      for (int64_t k = 0; k < depth; ++k) sum += weights[k] * args.scales[k] * widen(level(k)[i]);
      mixed[i] = sum;
    }
    layer_norm(mixed, width, args.norm_weight, args.norm_bias, args.eps);
    A* routed = static_cast<A*>(args.routed) + token * width;
    for (int64_t i = 0; i < width; ++i) narrow(dot(mixed, project + i * width, width) + args.proj_bias[i], routed + i);
    for (int64_t k = 0; args.weights != nullptr && k < depth; ++k) args.weights[token * depth + k] = weights[k];
  }
}

}  // namespace

void dynamic_token_routing_scalar(const DynamicTokenRouting& args) {
  with_type(args.levels.dtype, [&](auto a) {
    with_type(args.w1.dtype, [&](auto w) { run<decltype(a), decltype(w)>(args); });
  });
}

}  // namespace spar
