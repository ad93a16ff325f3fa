#include "bindings/call.h"

namespace spar::cuda {
namespace {

Strides strides_of(const Array& array) { return {array.strides[0], array.strides[1], array.strides[2]}; }

void run(Call& call) {
  ReluLinearAttention args{};
  const Axes axes = {"batch", "heads", "tokens", "head_dim"};
  const Array &query = call.rows("query", Kind::bf16, axes), &key = call.rows("key", Kind::bf16, axes),
              &value = call.rows("value", Kind::bf16, axes), &out = call.writable("out", call.rows("out", Kind::bf16, axes));
  args.query = query.data, args.key = key.data, args.value = value.data, args.out = out.data;
  args.query_strides = strides_of(query), args.key_strides = strides_of(key);
  args.value_strides = strides_of(value), args.out_strides = strides_of(out);
  args.dtype = Dtype::bf16;
  args.eps = static_cast<float>(call.number("eps", 1e-15));
  args.batch = call.dims["batch"], args.heads = call.dims["heads"], args.tokens = call.dims["tokens"];
  args.head_dim = call.dims["head_dim"];
  if (args.head_dim != 16 && args.head_dim != 32)
    call.dims.fail("head_dim=" + std::to_string(args.head_dim) + "; this kernel has 16 and 32");
  void* workspace = call.workspace(relu_linear_attention_workspace(args.batch, args.heads, args.tokens, args.head_dim));
  call.done();
  relu_linear_attention(args, workspace, call.stream);
}

const Registration registered("relu_linear_attention", &run);

}  // namespace
}  // namespace spar::cuda
