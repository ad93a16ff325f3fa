#include "bindings/call.h"

namespace spar::cuda {
namespace {

void run(Call& call) {
  ClampResizeUint8 args{};
  call.dims.set("channels", 3, "red, green, blue");
  const Array& image = call.any("image", {Kind::f32, Kind::bf16}, {"batch", "channels", "rows", "columns"});
  args.image = {image.data, image.kind == Kind::bf16 ? Dtype::bf16 : Dtype::f32};
  args.batch_stride = image.strides[0], args.channel_stride = image.strides[1];
  args.row_stride = image.strides[2], args.column_stride = image.strides[3];
  args.out = call.result<uint8_t>("out", Kind::bytes, {"batch", "height", "width", "channels"});
  args.batch = call.dims["batch"], args.rows = call.dims["rows"], args.columns = call.dims["columns"];
  args.height = call.dims["height"], args.width = call.dims["width"];
  for (const char* axis : {"batch", "rows", "columns", "height", "width"}) call.at_most(axis, kLargestPicture);
  if (args.rows * args.columns == 0 && args.batch * args.height * args.width != 0)
    call.dims.fail("`image` has no pixels, but `out` has");
  call.done();
  clamp_resize_uint8(args, call.stream);
}

const Registration registered("clamp_resize_uint8", &run);

}  // namespace
}  // namespace spar::cuda
