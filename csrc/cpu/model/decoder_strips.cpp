// The end of the decoder, whose convolutions reach a few lines only: of whole pictures, or strip by strip.
//
// A strip starts from the lines of the last whole stage that its own lines depend on. Convolutions take zeros beyond the lines
// that are there, so each spoils one line on a side that is not the picture's own; `reach` counts them, and `crop` drops
// them before anything reads them. What is kept is therefore computed from the same numbers in the same order as without
// strips.
#include <algorithm>
#include <new>
#include <vector>

#include "engine/error.h"
#include "model/decoder.h"
#include "model/pictures.h"

namespace spar::cpu {
namespace {

constexpr float kEps = 1e-5f;
constexpr int64_t kEnd = 3 * sizeof(float);  // bytes of a pixel of the last convolution

}  // namespace

Span Span::with(int64_t reach, int64_t height) const {
  return {std::max<int64_t>(0, first - reach), std::min(height, end + reach)};
}

Pixels Pixels::crop(int64_t first, int64_t lines) const {
  if (lines == height) return *this;
  Pixels part = *this;  // of one picture: those of several are cropped nowhere
  part.height = lines;
  part.x = x.rows(first * width);
  part.act = act.rows(first * width);
  return part;
}

Pixels Decoder::size(int64_t stage, const Shape& latent) const {
  const int64_t scale = int64_t{1} << (static_cast<int64_t>(channels_.size()) - 1 - stage);
  return {latent[0], latent[2] * scale, latent[3] * scale, channels_[static_cast<size_t>(stage)], {}, {}};
}

Pixels Pixels::at(char* x_at, char* act_at, Type type) const {
  Pixels placed = *this;
  placed.x = placed.act = {x_at, Type::f32, channels};
  if (type != Type::f32) placed.act = {act_at, type, channels};
  return placed;
}

Pixels Ground::place(const Pixels& size) {
  const int64_t x = size.x_bytes(), bytes = size.bytes(activations_);
  if (held_ + bytes > end_ - begin_) throw std::bad_alloc();
  held_ = bytes;
  held_x_ = x;
  top_ = !top_;
  return top_ ? size.at(end_ - x, end_ - bytes, activations_) : size.at(begin_, begin_ + x, activations_);
}

char* Ground::beside(int64_t bytes) const {
  if (held_ + bytes > end_ - begin_) throw std::bad_alloc();
  return top_ ? begin_ : begin_ + held_;
}

Ground Ground::rest() const {
  return {top_ ? begin_ : begin_ + held_x_, end_ - begin_ - held_x_, activations_};
}

Cut Decoder::cut_of(const Run& run, const Inputs& inputs, int64_t height) const {
  const auto asked = inputs.find("strips");
  if (asked == inputs.end()) return {1, global_};
  const Cut cut{asked->second.whole[0], asked->second.whole[1]};
  const std::string what = "decoder: strips=(" + std::to_string(cut.strips) + ", " + std::to_string(cut.stages) + ")";
  if (cut.strips < 1 || cut.strips > height)
    throw InputError(what + " of a picture of " + std::to_string(height) + " lines; give 1 to as many strips");
  if (cut.stages < 1 || cut.stages > global_)
    throw InputError(what + ", but " + std::to_string(global_) + " stages follow the last that sees the whole picture");
  if (run.tapping()) throw InputError(what + " has no whole inner tensors to show; give none");
  return cut;
}

Decoder::Reach Decoder::reach(const Span& strip, int64_t stages, const Shape& latent) const {
  Reach found;
  Span wanted = strip.with(1, size(0, latent).height);  // the last convolution
  for (int64_t stage = 0; stage < stages; ++stage) {
    const int64_t blocks = static_cast<int64_t>(stages_[static_cast<size_t>(stage)].residual.size());
    const Span made = wanted.with(2 * blocks, size(stage, latent).height);
    wanted = Span{made.first / 2, ceil_div(made.end, 2)}.with(1, size(stage + 1, latent).height);
    found.made.push_back(made);
    found.read.push_back(wanted);
  }
  return found;
}

namespace {

// The strips of a picture of `height` lines, from its top down.
std::vector<Span> strips_of(int64_t count, int64_t height) {
  std::vector<Span> found;
  const int64_t lines = ceil_div(height, count);
  for (int64_t first = 0; first < height; first += lines) found.push_back({first, std::min(first + lines, height)});
  return found;
}

}  // namespace

int64_t Decoder::ground_bytes(Type type, const Cut& cut, const Shape& latent) const {
  // A picture beside the one that it is made of, then beside what its blocks and the end work in.
  const auto needed = [&](const Pixels& made, int64_t source) {
    return made.bytes(type) + std::max({source, made.hidden_bytes(type), made.count() * kEnd});
  };
  int64_t most = global_ == 0 ? size(0, latent).count() * kEnd : 0;
  for (int64_t stage = global_ - 1; stage >= (cut.strips == 1 ? 0 : cut.stages); --stage)
    most = std::max(most, needed(size(stage, latent), stage + 1 < global_ ? size(stage + 1, latent).bytes(type) : 0));
  if (cut.strips == 1) return most;
  const int64_t kept = cut.stages < global_ ? size(cut.stages, latent).x_bytes() : 0;
  for (const Span& strip : strips_of(cut.strips, size(0, latent).height)) {
    const Reach part = reach(strip, cut.stages, latent);
    for (int64_t stage = cut.stages - 1; stage >= 0; --stage) {
      Pixels made = size(stage, latent), source = size(stage + 1, latent);
      made.pictures = source.pictures = 1;
      source.height = part.read[static_cast<size_t>(stage)].lines();
      made.height = 2 * source.height;
      if (stage + 1 < cut.stages) source.height = 2 * part.read[static_cast<size_t>(stage + 1)].lines();
      const int64_t from = stage + 1 < cut.stages ? source.bytes(type) : source.act_bytes(type);
      most = std::max(most, kept + needed(made, from));
    }
  }
  return most;
}

void Decoder::in_strips(Run& run, const Pixels& p, const Ground& ground, const Cut& cut, const Shape& latent,
                        float* image) const {
  const Pixels whole = size(0, latent);
  const int64_t pixels = p.height * p.width;
  const Ground rest = ground.rest();
  for (int64_t picture = 0; picture < p.pictures; ++picture)
    for (const Span& strip : strips_of(cut.strips, whole.height)) {
      const Reach part = reach(strip, cut.stages, latent);
      Pixels one = p;
      one.pictures = 1;
      one.x = one.act = p.x.rows(picture * pixels);
      one = one.crop(part.read.back().first, part.read.back().lines());
      if (run.activations != Type::f32) one.act = {};  // its memory is part of `rest`
      convolve(run, one, rest, strip, part, whole.height, image + picture * 3 * whole.height * whole.width);
    }
}

Pixels Decoder::grow(Run& run, Pixels p, int64_t stage, Ground& ground) const {
  const auto at = static_cast<size_t>(stage);
  const Pixels larger = ground.place({p.pictures, 2 * p.height, 2 * p.width, channels_[at], {}, {}});
  if (!p.act) {
    p.act = {ground.beside(p.act_bytes(run.activations)), run.activations, p.channels};
    run.convert(p.x, p.act, p.count(), p.channels);
  }
  run.check_cancelled();
  stages_[at].up[0].run(run, p, larger);
  return larger;
}

void Decoder::convolve(Run& run, Pixels p, Ground ground, const Span& strip, const Reach& reach, int64_t height,
                       float* image) const {
  int64_t first = 0;  // line of the picture that is the first one of p
  for (int64_t stage = static_cast<int64_t>(reach.read.size()) - 1; stage >= 0; --stage) {
    const auto at = static_cast<size_t>(stage);
    const Pixels larger = grow(run, p, stage, ground);
    const Span& made = reach.made[at];
    p = larger.crop(made.first - 2 * reach.read[at].first, made.lines());
    first = made.first;
    blocks(run, stage, p, &ground);
    if (stage == 0) break;
    const Span& next = reach.read[at - 1];
    p = p.crop(next.first - first, next.lines());
  }
  const Span wanted = strip.with(1, height);
  leave(run, p.crop(wanted.first - first, wanted.lines()), ground, strip.first - wanted.first, strip, height, image);
}

void Decoder::leave(Run& run, const Pixels& p, const Ground& ground, int64_t skip, const Span& strip, int64_t height,
                    float* image) const {
  Frame frame(run.arena);
  Norm norm;
  norm.in = p.x;
  norm.out = p.act;
  norm.width = p.channels;
  norm.eps = kEps;
  norm.centred = false;
  norm.relu = true;
  norm.weight = norm_;
  norm.bias = bias_;
  run.norm(norm, p.count());
  const Taps taps = taps_of(p.height, p.width, p.channels, 3, -1, -1, zeros(run, p.channels).data);
  Epilogue end;
  end.out = {ground.beside(p.count() * kEnd), Type::f32, 3};
  run.linear(conv_out_, p.act, p.count(), end, &taps);
  run.each(p.pictures * 3, [&](int64_t index, int) {
    const int64_t from = (index / 3 * p.height + skip) * p.width, pixels = strip.lines() * p.width;
    float* to = image + (index * height + strip.first) * p.width;
    for (int64_t i = 0; i < pixels; ++i) to[i] = end.out.row<float>(from + i)[index % 3];
  });
}

}  // namespace spar::cpu
