#include "model/run.h"

#include <algorithm>
#include <cstring>

namespace spar::cpu {
namespace {

constexpr int64_t kGrain = 16;  // rows of a task of norms and conversions

float value_at(const View& rows, int64_t r, int64_t c) {
  return rows.type == Type::f32 ? rows.row<float>(r)[c] : to_f32(rows.row<bf16>(r)[c]);
}

}  // namespace

float* Outputs::make(const std::string& name, Shape shape) {
  int64_t count = 1;
  for (const int64_t size : shape) count *= size;
  Output& output = arrays[name];
  output.data.reset(new float[static_cast<size_t>(std::max<int64_t>(count, 1))]);
  output.shape = std::move(shape);
  return output.data.get();
}

void Run::tap(const std::string& name, const View& rows, int64_t width, Shape shape) const {
  if (!taps_ || taps_->arrays.count(name)) return;  // an output is not taken twice
  int64_t count = 1;
  for (const int64_t size : shape) count *= size;
  float* to = taps_->make(name, std::move(shape));
  for (int64_t r = 0; r < count / width; ++r)
    for (int64_t c = 0; c < width; ++c) *to++ = value_at(rows, r, c);
}

void Run::tap_picture(const std::string& name, const View& rows, int64_t pictures, int64_t pixels, int64_t width,
                      Shape shape) const {
  if (!taps_ || taps_->arrays.count(name)) return;  // an output is not taken twice
  float* to = taps_->make(name, std::move(shape));
  for (int64_t p = 0; p < pictures; ++p)
    for (int64_t c = 0; c < width; ++c)
      for (int64_t i = 0; i < pixels; ++i) *to++ = value_at(rows, p * pixels + i, c);
}

Quantize Run::quantized(const PackedLinear& w, int64_t rows) {
  const bool grouped = w.type == Type::s4;
  const int64_t scales = rows * (grouped ? w.groups() : 1);
  Quantize q;
  q.out = arena.matrix(grouped ? Type::s8 : Type::u8, rows, w.k);
  q.out_scale = arena.take<float>(scales);
  if (grouped) q.out_offset = arena.take<int32_t>(scales);
  q.width = w.k - w.padding;
  return q;
}

// What multiplies the padding of w, zeros too: memory that was not written may hold NaN.
void Run::clear_padding(const PackedLinear& w, const View& x, int64_t rows) {
  if (w.padding == 0) return;
  for (int64_t r = 0; r < rows; ++r) std::fill_n(x.row<bf16>(r) + w.k - w.padding, w.padding, bf16{0});
}

void Run::linear(const PackedLinear& w, const View& x, int64_t rows, const Epilogue& end, const Taps* taps) {
  Frame frame(arena);
  Gemm g;
  g.a = x;
  g.taps = taps;
  g.w = &w;
  g.m = rows;
  g.end = end;
  if (w.type == Type::bf16 && (x.type == Type::f32 || w.padding != 0)) {
    g.a = arena.matrix(Type::bf16, rows, w.k);
    convert(x, g.a, rows, w.k - w.padding);
    clear_padding(w, g.a, rows);
  }
  if (w.type == Type::s8 || w.type == Type::s4) {
    Quantize q = quantized(w, rows);
    q.in = x;
    each_rows(rows, kGrain, [&](int64_t first, int64_t n, int) { kernels.quantize(q, first, n); });
    g.a = q.out;
    g.a_scale = q.out_scale;
    g.a_offset = q.out_offset;
  }
  product(kernels, seat, arena, g);
}

void Run::linear(const PackedLinear& w, const View& x, int64_t rows, const View& out, Act act) {
  Epilogue end;
  end.act = act;
  end.out = out;
  linear(w, x, rows, end);
}

void Run::norm(const Norm& n, int64_t rows) {
  each_rows(rows, kGrain, [&](int64_t first, int64_t count, int) { kernels.norm(n, first, count); });
}

void Run::norm_linear(const Norm& n, const PackedLinear& w, int64_t rows, const Epilogue& end) {
  Frame frame(arena);
  Norm normed = n;
  Gemm g;
  g.w = &w;
  g.m = rows;
  g.end = end;
  if (w.type == Type::s8 || w.type == Type::s4) {
    const Quantize q = quantized(w, rows);
    normed.out = q.out;
    g.a_scale = normed.out_scale = q.out_scale;
    g.a_offset = normed.out_offset = q.out_offset;
  } else {
    normed.out = arena.matrix(w.type, rows, w.k);
  }
  norm(normed, rows);
  if (w.type == Type::bf16) clear_padding(w, normed.out, rows);
  g.a = normed.out;
  product(kernels, seat, arena, g);
}

void Run::attention(const Attention& a) {
  Frame frame(arena);
  Attention task = a;
  task.block = std::clamp<int64_t>((384 << 10) / (attention_width(a.keys, a.kv->dim) * 8) / 6 * 6, 6, 96);
  const int64_t bytes = round_up(attention_scratch(task.block, a.keys, a.kv->dim), 64), blocks = ceil_div(a.tokens, task.block);
  char* scratch = arena.take_bytes(static_cast<size_t>(bytes * seat.threads()));
  each(blocks * a.heads, [&](int64_t index, int worker) {
    const int64_t first = index % blocks * task.block;
    kernels.attention(task, index / blocks, first, std::min(task.block, a.tokens - first), scratch + worker * bytes);
  });
}

void Run::convert(const View& from, const View& to, int64_t rows, int64_t width) {
  each_rows(rows, 4 * kGrain, [&](int64_t first, int64_t count, int) {
    for (int64_t r = first; r < first + count; ++r) {
      if (from.type == to.type) {
        std::memcpy(to.row<char>(0) + r * to.stride * size_of(to.type),
                    from.row<char>(0) + r * from.stride * size_of(from.type), static_cast<size_t>(width * size_of(to.type)));
      } else if (to.type == Type::bf16) {
        const float* x = from.row<float>(r);
        bf16* y = to.row<bf16>(r);
        for (int64_t c = 0; c < width; ++c) y[c] = to_bf16(x[c]);
      } else {
        const bf16* x = from.row<bf16>(r);
        float* y = to.row<float>(r);
        for (int64_t c = 0; c < width; ++c) y[c] = to_f32(x[c]);
      }
    }
  });
}

}  // namespace spar::cpu
