#include "engine/relu_linear_attention.h"

#include <array>
#include <cmath>

#include "testing.h"

using namespace spar;
using namespace spar::testing;

namespace {

struct Call {
  std::array<std::vector<float>, 3> inputs;
  std::array<std::vector<uint16_t>, 3> inputs_bf16;
  std::vector<float> out;
  std::vector<uint16_t> out_bf16;
  ReluLinearAttention args{};

  Call(int64_t batch, int64_t heads, int64_t tokens, int64_t head_dim, Dtype dtype) {
    const int64_t size = batch * heads * tokens * head_dim;
    const Strides strides{heads * tokens * head_dim, tokens * head_dim, head_dim};
    std::array<const void*, 3> data{};
    for (uint32_t i = 0; i < 3; ++i)
      data[i] = dtype == Dtype::bf16 ? static_cast<const void*>((inputs_bf16[i] = bf16_numbers(size, i)).data())
                                     : static_cast<const void*>((inputs[i] = numbers(size, i)).data());
    (dtype == Dtype::bf16 ? out_bf16.resize(static_cast<size_t>(size)) : out.resize(static_cast<size_t>(size)));
    args.query = data[0], args.key = data[1], args.value = data[2];
    args.out = dtype == Dtype::bf16 ? static_cast<void*>(out_bf16.data()) : static_cast<void*>(out.data());
    args.query_strides = args.key_strides = args.value_strides = args.out_strides = strides;
    args.dtype = dtype, args.eps = 1e-15f;
    args.batch = batch, args.heads = heads, args.tokens = tokens, args.head_dim = head_dim;
  }
};

constexpr std::array<std::array<int64_t, 4>, 7> kShapes = {
    {{2, 3, 256, 32}, {1, 1, 1, 1}, {1, 3, 67, 37}, {1, 2, 0, 32}, {0, 2, 4, 32}, {1, 1, 70, 100}, {1, 2, 63, 8}}};

const Registration bounds("relu_linear_attention stays inside its arrays and agrees between variants", [] {
  for (const auto& [batch, heads, tokens, head_dim] : kShapes)
    for (const Dtype dtype : {Dtype::f32, Dtype::bf16}) {
      Call want(batch, heads, tokens, head_dim, dtype);
      relu_linear_attention_variants().back().run(want.args);
      for (const auto& variant : relu_linear_attention_variants()) {
        Call got(batch, heads, tokens, head_dim, dtype);
        variant.run(got.args);
        for (size_t i = 0; i < want.out.size(); ++i)
          expect(std::fabs(got.out[i] - want.out[i]) < 1e-4f, variant.name() + ": the result differs");
      }
    }
});

const Registration threads("relu_linear_attention runs in several threads", [] {
  for (const auto& variant : relu_linear_attention_variants()) {
    Call want(1, 2, 200, 32, Dtype::f32);
    variant.run(want.args);
    at_once(4, [&](int i) {
      Call small(1, 1, 5 + i, 16, Dtype::bf16), got(1, 2, 200, 32, Dtype::f32);
      variant.run(small.args);
      variant.run(got.args);
      expect(got.out == want.out, variant.name() + ": another thread's work shows");
    });
  }
});

}  // namespace
