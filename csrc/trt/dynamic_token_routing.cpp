// DynamicTokenRouting as a plugin. Inputs as the ONNX node has them, matrices bf16, vectors f32:
//   0 levels [depth, tokens, width]   1 w1 [hidden, width]   2 b1 [hidden]   3 w2 [depth, hidden]   4 b2 [depth]
//   5 scales [depth]   6 norm_weight, 7 norm_bias [width]   8 proj_weight [width, width]   9 proj_bias [width]
// Output: routed [tokens, width] bf16. Attribute: temperature.
#include "engine/dynamic_token_routing.h"

#include "engine/cuda.h"
#include "plugin.h"

namespace spar::trt {
namespace {

constexpr float kEps = 1e-5F;  // of the LayerNorm; fixed by the model

struct Routing {
  static constexpr const char* kName = "DynamicTokenRouting";
  static constexpr const char* kAttribute = "temperature";
  static constexpr float kDefault = 1.0F;
  static constexpr int32_t kInputs = 10;

  static bool wide(int32_t i) { return i == 2 || (i >= 4 && i != 8); }

  static bool shape(DimsExprs const* in, DimsExprs& out, IExprBuilder&) {
    if (in[0].nbDims != 3) return false;
    out.nbDims = 2;
    out.d[0] = in[0].d[1];
    out.d[1] = in[0].d[2];
    return true;
  }

  static std::string fault(Dims const* in) {
    if (in[0].nbDims != 3 || in[1].nbDims != 2) return "levels must have 3 axes and w1 2";
    const int64_t depth = in[0].d[0], width = in[0].d[2], hidden = in[1].d[0];
    const int64_t want[kInputs][2] = {{0, 0},     {hidden, width}, {hidden, 0}, {depth, hidden}, {depth, 0},
                                      {depth, 0}, {width, 0},      {width, 0},  {width, width},  {width, 0}};
    for (int32_t i = 1; i < kInputs; ++i) {
      const int32_t axes = want[i][1] ? 2 : 1;
      if (in[i].nbDims != axes || !std::equal(in[i].d, in[i].d + axes, want[i]))
        return "input " + std::to_string(i) + " does not fit depth=" + std::to_string(depth) +
               ", width=" + std::to_string(width) + ", hidden=" + std::to_string(hidden);
    }
    if (width % cuda::kVector || hidden % cuda::kVector) return "width and hidden must be multiples of 8";
    if (depth < 1 || depth > cuda::kLargestDepth) return "depth=" + std::to_string(depth) + "; this kernel has 1 to 32";
    if (width > cuda::kWidestRouting) return "width=" + std::to_string(width) + "; this kernel has at most 3072";
    return "";
  }

  static int64_t workspace(Dims const* in) {
    return cuda::dynamic_token_routing_workspace(in[0].d[1], in[1].d[0], in[0].d[0]);
  }

  static void launch(Dims const* in, float temperature, void const* const* inputs, void* out, void* workspace,
                     void* stream) {
    const auto vector = [&](int32_t i) { return static_cast<const float*>(inputs[i]); };
    DynamicTokenRouting args{};
    args.levels = {inputs[0], Dtype::bf16};
    args.w1 = {inputs[1], Dtype::bf16}, args.b1 = vector(2);
    args.w2 = {inputs[3], Dtype::bf16}, args.b2 = vector(4);
    args.scales = vector(5), args.norm_weight = vector(6), args.norm_bias = vector(7);
    args.proj_weight = {inputs[8], Dtype::bf16}, args.proj_bias = vector(9);
    args.temperature = temperature, args.eps = kEps;
    args.routed = out;
    args.depth = in[0].d[0], args.tokens = in[0].d[1], args.width = in[0].d[2], args.hidden = in[1].d[0];
    args.level_stride = args.tokens * args.width;
    cuda::dynamic_token_routing(args, workspace, stream);
  }
};

}  // namespace

IPluginCreatorInterface* dynamic_token_routing_creator() {
  static Creator<Routing> creator;
  return &creator;
}

}  // namespace spar::trt
