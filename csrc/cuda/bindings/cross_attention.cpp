#include <cmath>

#include "bindings/call.h"

namespace spar::cuda {
namespace {

Strides strides_of(const Array& array) { return {array.strides[0], array.strides[1], array.strides[2]}; }

void run(Call& call) {
  CrossAttention args{};
  const Axes rows = {"batch", "heads", "tokens", "head_dim"}, context = {"batch", "heads", "keys", "head_dim"};
  const Array &query = call.rows("query", Kind::bf16, rows), &keys = call.rows("keys", Kind::bf16, context),
              &values = call.rows("values", Kind::bf16, context),
              &out = call.writable("out", call.rows("out", Kind::bf16, rows));
  const auto halves = [](const Array& array) { return static_cast<uint16_t*>(array.data); };
  args.query = halves(query), args.keys = halves(keys), args.values = halves(values), args.out = halves(out);
  args.query_strides = strides_of(query), args.keys_strides = strides_of(keys);
  args.values_strides = strides_of(values), args.out_strides = strides_of(out);
  args.batch = call.dims["batch"], args.heads = call.dims["heads"], args.tokens = call.dims["tokens"];
  args.keys_count = call.dims["keys"], args.head_dim = call.dims["head_dim"];
  call.in_eights("head_dim"), call.at_most("head_dim", kLargestHead);
  if (call.given("lengths"))
    args.lengths = static_cast<const int32_t*>(call.any("lengths", {Kind::i32}, {"batch"}).data);
  if (args.lengths != nullptr && args.batch > 1 && call.any("lengths", {Kind::i32}, {"batch"}).strides[0] != 1)
    call.dims.fail("`lengths` is not contiguous; pass a contiguous copy");
  args.scale = static_cast<float>(call.number("scale", 1 / std::sqrt(static_cast<double>(args.head_dim))));
  if (!(args.scale > 0)) call.dims.fail("scale=" + std::to_string(args.scale) + "; it must be above 0");
  call.done();
  cross_attention(args, call.stream);
}

const Registration registered("cross_attention", &run);

}  // namespace
}  // namespace spar::cuda
