// GlumbconvCore as a plugin: what lies between the two 1x1 convolutions of GLUMBConv. Inputs as the ONNX node has them:
//   0 x [batch, rows, columns, 2 * hidden] bf16   1 weight [9, 2 * hidden] bf16   2 bias [2 * hidden] f32
// Output: [batch, rows, columns, hidden] bf16. No attribute.
#include "engine/glumbconv_core.h"

#include "engine/cuda.h"
#include "plugin.h"

namespace spar::trt {
namespace {

constexpr int64_t kTaps = 9, kMostPictures = 65535;  // 3x3; the third axis of a grid

struct Core {
  static constexpr const char* kName = "GlumbconvCore";
  static constexpr const char* kAttribute = nullptr;
  static constexpr float kDefault = 1.0F;
  static constexpr int32_t kInputs = 3;

  static bool wide(int32_t i) { return i == 2; }

  static bool shape(DimsExprs const* in, DimsExprs& out, IExprBuilder& sizes) {
    if (in[0].nbDims != 4) return false;
    out = in[0];
    out.d[3] = sizes.operation(DimensionOperation::kFLOOR_DIV, *in[0].d[3], *sizes.constant(2));
    return out.d[3] != nullptr;
  }

  static std::string fault(Dims const* in) {
    if (in[0].nbDims != 4 || in[1].nbDims != 2 || in[2].nbDims != 1) return "x must have 4 axes, weight 2 and bias 1";
    const int64_t channels = in[0].d[3];
    if (in[1].d[0] != kTaps || in[1].d[1] != channels || in[2].d[0] != channels)
      return "weight must be [9, " + std::to_string(channels) + "] and bias [" + std::to_string(channels) + "]";
    if (channels % (2 * cuda::kVector)) return "hidden=" + std::to_string(channels / 2) + " must be a multiple of 8";
    return in[0].d[0] <= kMostPictures ? "" : "batch=" + std::to_string(in[0].d[0]) + "; this kernel has at most 65535";
  }

  static int64_t workspace(Dims const*) { return 0; }

  static void launch(Dims const* in, float, void const* const* inputs, void* out, void*, void* stream) {
    GlumbconvCore args{};
    args.x = static_cast<const uint16_t*>(inputs[0]);
    args.weight = static_cast<const uint16_t*>(inputs[1]);
    args.bias = static_cast<const float*>(inputs[2]);
    args.out = static_cast<uint16_t*>(out);
    args.batch = in[0].d[0], args.rows = in[0].d[1], args.columns = in[0].d[2], args.hidden = in[0].d[3] / 2;
    cuda::glumbconv_core(args, stream);
  }
};

}  // namespace

IPluginCreatorInterface* glumbconv_core_creator() {
  static Creator<Core> creator;
  return &creator;
}

}  // namespace spar::trt
