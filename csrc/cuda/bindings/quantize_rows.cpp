#include "bindings/call.h"

namespace spar::cuda {
namespace {

void run(Call& call) {
  QuantizeRows args{};
  args.x = call.reals("x", {"rows", "width"});
  args.values = call.eights("values", {"rows", "width"});
  args.scales = call.result<float>("scales", Kind::f32, {"rows"});
  args.rows = call.dims["rows"], args.width = call.dims["width"];
  call.in_eights("width"), call.at_most("width", kWidestQuantized);
  call.done();
  quantize_rows(args, call.stream);
}

const Registration registered("quantize_rows", &run);

}  // namespace
}  // namespace spar::cuda
