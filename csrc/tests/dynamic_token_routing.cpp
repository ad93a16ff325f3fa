#include "engine/dynamic_token_routing.h"

#include <array>
#include <cmath>

#include "testing.h"

using namespace spar;
using namespace spar::testing;

namespace {

// Arguments with memory of exactly their size, so that a sanitizer sees the first element past an end.
struct Call {
  std::vector<float> levels, w1, w2, project, b1, b2, scales, weight, bias, shift, weights, routed;
  std::vector<uint16_t> levels_bf16, w1_bf16, w2_bf16, project_bf16, routed_bf16;
  DynamicTokenRouting args{};

  Call(int64_t depth, int64_t tokens, int64_t width, int64_t hidden, Dtype activations, Dtype matrices) {
    b1 = numbers(hidden, 1), b2 = numbers(depth, 2), scales = numbers(depth, 3);
    weight = numbers(width, 4), bias = numbers(width, 5), shift = numbers(width, 6);
    weights.assign(static_cast<size_t>(tokens * depth), NAN);
    args.b1 = b1.data(), args.b2 = b2.data(), args.scales = scales.data();
    args.norm_weight = weight.data(), args.norm_bias = bias.data(), args.proj_bias = shift.data();
    args.temperature = 0.7f, args.eps = 1e-5f, args.weights = weights.data();
    args.depth = depth, args.tokens = tokens, args.width = width, args.hidden = hidden;
    args.level_stride = tokens * width;
    args.levels = fill(levels, levels_bf16, depth * tokens * width, 7, activations);
    args.w1 = fill(w1, w1_bf16, hidden * width, 8, matrices);
    args.w2 = fill(w2, w2_bf16, depth * hidden, 9, matrices);
    args.proj_weight = fill(project, project_bf16, width * width, 10, matrices);
    if (activations == Dtype::bf16) {
      routed_bf16.resize(static_cast<size_t>(tokens * width));
      args.routed = routed_bf16.data();
    } else {
      routed.resize(static_cast<size_t>(tokens * width));
      args.routed = routed.data();
    }
  }

  static Reals fill(std::vector<float>& f32, std::vector<uint16_t>& bf16, int64_t size, uint32_t seed, Dtype dtype) {
    if (dtype == Dtype::bf16) return {(bf16 = bf16_numbers(size, seed)).data(), dtype};
    return {(f32 = numbers(size, seed)).data(), dtype};
  }
};

constexpr std::array kTypes = {Dtype::f32, Dtype::bf16};
constexpr std::array<std::array<int64_t, 4>, 6> kShapes = {
    {{4, 50, 96, 48}, {1, 1, 1, 1}, {3, 53, 37, 11}, {4, 0, 32, 16}, {28, 7, 48, 24}, {2, 100, 17, 3}}};

const Registration bounds("dynamic_token_routing stays inside its arrays and agrees between variants", [] {
  for (const auto& [depth, tokens, width, hidden] : kShapes)
    for (const Dtype activations : kTypes)
      for (const Dtype matrices : kTypes) {
        Call want(depth, tokens, width, hidden, activations, matrices);
        dynamic_token_routing_variants().back().run(want.args);
        for (const auto& variant : dynamic_token_routing_variants()) {
          Call got(depth, tokens, width, hidden, activations, matrices);
          variant.run(got.args);
          for (size_t i = 0; i < want.weights.size(); ++i)
            expect(std::fabs(got.weights[i] - want.weights[i]) < 1e-4f, variant.name() + ": weights differ");
          for (size_t i = 0; i < want.routed.size(); ++i)
            expect(std::fabs(got.routed[i] - want.routed[i]) < 1e-2f, variant.name() + ": routed differs");
        }
      }
});

const Registration threads("dynamic_token_routing runs in several threads", [] {
  for (const auto& variant : dynamic_token_routing_variants()) {
    Call want(4, 60, 64, 32, Dtype::f32, Dtype::f32);
    variant.run(want.args);
    at_once(4, [&](int i) {
      Call small(2, 3 + i, 16, 8, Dtype::bf16, Dtype::f32), got(4, 60, 64, 32, Dtype::f32, Dtype::f32);
      variant.run(small.args);
      variant.run(got.args);
      expect(got.routed == want.routed, variant.name() + ": another thread's work shows");
    });
  }
});

}  // namespace
