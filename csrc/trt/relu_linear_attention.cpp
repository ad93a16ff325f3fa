// ReluLinearAttention as a plugin: query, key, value, out [batch, heads, tokens, head_dim] bf16; attribute eps.
#include "engine/relu_linear_attention.h"

#include "engine/cuda.h"
#include "plugin.h"

namespace spar::trt {
namespace {

struct Attention {
  static constexpr const char* kName = "ReluLinearAttention";
  static constexpr const char* kAttribute = "eps";
  static constexpr float kDefault = 1e-15F;
  static constexpr int32_t kInputs = 3;

  static bool wide(int32_t) { return false; }

  static bool shape(DimsExprs const* in, DimsExprs& out, IExprBuilder&) {
    out = in[0];
    return in[0].nbDims == 4 && in[1].nbDims == 4 && in[2].nbDims == 4;
  }

  static std::string fault(Dims const* in) {
    for (int32_t i = 1; i < kInputs; ++i)
      if (in[i].nbDims != 4 || !std::equal(in[0].d, in[0].d + 4, in[i].d)) return "query, key and value differ in shape";
    const int64_t head_dim = in[0].d[3];
    return head_dim == 16 || head_dim == 32 ? "" : "head_dim=" + std::to_string(head_dim) + "; this kernel has 16 and 32";
  }

  static int64_t workspace(Dims const* in) {
    const auto* d = in[0].d;
    return cuda::relu_linear_attention_workspace(d[0], d[1], d[2], d[3]);
  }

  static void launch(Dims const* in, float eps, void const* const* inputs, void* out, void* workspace, void* stream) {
    ReluLinearAttention args{};
    args.query = inputs[0], args.key = inputs[1], args.value = inputs[2], args.out = out;
    args.dtype = Dtype::bf16;
    args.eps = eps;
    args.batch = in[0].d[0], args.heads = in[0].d[1], args.tokens = in[0].d[2], args.head_dim = in[0].d[3];
    const Strides dense{args.heads * args.tokens * args.head_dim, args.tokens * args.head_dim, args.head_dim};
    args.query_strides = args.key_strides = args.value_strides = args.out_strides = dense;
    cuda::relu_linear_attention(args, workspace, stream);
  }
};

}  // namespace

IPluginCreatorInterface* relu_linear_attention_creator() {
  static Creator<Attention> creator;
  return &creator;
}

}  // namespace spar::trt
