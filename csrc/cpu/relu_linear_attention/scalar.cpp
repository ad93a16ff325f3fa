#include "core/types.h"
#include "engine/relu_linear_attention.h"
#include "scratch.h"
#include "with_type.h"

namespace spar {
namespace {

float widen(float x) { return x; }
float widen(cpu::bf16 x) { return cpu::to_f32(x); }
void narrow(float x, float* to) { *to = x; }
void narrow(float x, cpu::bf16* to) { *to = cpu::to_bf16(x); }

// Zero for negative numbers; a NaN stays one.
float relu(float x) { return x < 0 ? 0 : x; }

template <class T>
void head(const ReluLinearAttention& args, const T* query, const T* key, const T* value, T* out) {
  const int64_t size = args.head_dim;
  float* state = thread_scratch(size * size + 2 * size);
  float *total = state + size * size, *row = total + size;
  for (int64_t i = 0; i < size * size + size; ++i) state[i] = 0;
  for (int64_t token = 0; token < args.tokens; ++token) {
    const T *k = key + token * args.key_strides.token, *v = value + token * args.value_strides.token;
    for (int64_t i = 0; i < size; ++i) {
      const float weight = relu(widen(k[i]));
      total[i] += weight;
      for (int64_t j = 0; j < size; ++j) state[i * size + j] += weight * widen(v[j]);
    }
  }
  for (int64_t token = 0; token < args.tokens; ++token) {
    const T* q = query + token * args.query_strides.token;
    T* to = out + token * args.out_strides.token;
    float divisor = 0;
    for (int64_t j = 0; j < size; ++j) row[j] = 0;
    for (int64_t i = 0; i < size; ++i) {
      const float weight = relu(widen(q[i]));
      divisor += weight * total[i];
      for (int64_t j = 0; j < size; ++j) row[j] += weight * state[i * size + j];
    }
    for (int64_t j = 0; j < size; ++j) narrow(row[j] / (divisor + args.eps), to + j);
  }
}

template <class T>
T* head_of(T* array, const Strides& strides, int64_t batch, int64_t head) {
  return array + batch * strides.batch + head * strides.head;
}

}  // namespace

void relu_linear_attention_scalar(const ReluLinearAttention& args) {
  with_type(args.dtype, [&](auto type) {
    using T = decltype(type);
    for (int64_t b = 0; b < args.batch; ++b)
      for (int64_t h = 0; h < args.heads; ++h)
        head(args, head_of(static_cast<const T*>(args.query), args.query_strides, b, h),
             head_of(static_cast<const T*>(args.key), args.key_strides, b, h),
             head_of(static_cast<const T*>(args.value), args.value_strides, b, h),
             head_of(static_cast<T*>(args.out), args.out_strides, b, h));
  });
}

}  // namespace spar
