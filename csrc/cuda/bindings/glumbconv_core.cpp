#include "bindings/call.h"

namespace spar::cuda {
namespace {

void run(Call& call) {
  GlumbconvCore args{};
  args.out = call.result<uint16_t>("out", Kind::bf16, {"batch", "rows", "columns", "hidden"});
  call.dims.set("channels", 2 * call.dims["hidden"], "twice the hidden of `out`");
  call.dims.set("taps", 9, "a 3x3 kernel");
  args.x = call.halves("x", {"batch", "rows", "columns", "channels"});
  args.weight = call.halves("weight", {"taps", "channels"});
  args.bias = call.floats("bias", {"channels"});
  args.batch = call.dims["batch"], args.rows = call.dims["rows"], args.columns = call.dims["columns"];
  args.hidden = call.dims["hidden"];
  call.in_eights("hidden"), call.at_most("batch", 65535);
  call.done();
  glumbconv_core(args, call.stream);
}

const Registration registered("glumbconv_core", &run);

}  // namespace
}  // namespace spar::cuda
