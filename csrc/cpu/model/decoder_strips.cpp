// The end of the decoder, whose convolutions reach a few lines only: of whole pictures, or strip by strip.
//
// A strip starts from the lines of the last whole stage that its own lines depend on. Convolutions take zeros beyond the lines
// that are there, so each spoils one line on a side that is not the picture's own; `reach` counts them, and `crop` drops
// them before anything reads them. What is kept is therefore computed from the same numbers in the same order as without
// strips.
#include <algorithm>

#include "engine/error.h"
#include "model/decoder.h"
#include "model/pictures.h"

namespace spar::cpu {
namespace {

constexpr float kEps = 1e-5f;

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

Decoder::Slots Decoder::slots(Run& run, const std::vector<Pixels>& sizes) const {
  size_t most[2] = {0, 0};
  for (size_t stage = 0; stage < sizes.size(); ++stage) {
    const Pixels& p = sizes[stage];
    const int64_t bytes = p.count() * (p.channels + 32) * (run.activations == Type::f32 ? 4 : 6) + 256;
    most[stage % 2] = std::max(most[stage % 2], static_cast<size_t>(bytes));
  }
  return {{run.arena.take_bytes(most[0]), run.arena.take_bytes(most[1])}, run.activations};
}

Pixels Decoder::Slots::place(int64_t stage, Pixels p) const {
  char* start = at[stage % 2];
  p.x = p.act = {start, Type::f32, p.channels};
  if (activations != Type::f32) p.act = {start + round_up(p.count() * p.channels * 4, 64), activations, p.channels};
  return p;
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

void Decoder::in_strips(Run& run, const Pixels& p, const Cut& cut, const Shape& latent, float* image) const {
  const Pixels whole = size(0, latent);
  const int64_t lines = ceil_div(whole.height, cut.strips), pixels = p.height * p.width;
  std::vector<Pixels> sizes(channels_.size());
  for (int64_t first = 0; first < whole.height; first += lines) {
    const Reach part = reach({first, std::min(first + lines, whole.height)}, cut.stages, latent);
    for (size_t stage = 0; stage < part.read.size(); ++stage) {
      Pixels most = size(static_cast<int64_t>(stage), latent);
      most.pictures = 1;
      most.height = std::max(sizes[stage].height, 2 * part.read[stage].lines());
      sizes[stage] = most;
    }
  }
  const Slots narrow = slots(run, sizes);
  for (int64_t picture = 0; picture < p.pictures; ++picture)
    for (int64_t first = 0; first < whole.height; first += lines) {
      const Span strip{first, std::min(first + lines, whole.height)};
      const Reach part = reach(strip, cut.stages, latent);
      Pixels one = p;
      one.pictures = 1;
      one.x = p.x.rows(picture * pixels);
      one.act = p.act.rows(picture * pixels);
      one = one.crop(part.read.back().first, part.read.back().lines());
      convolve(run, one, narrow, strip, part, whole.height,
               image + picture * 3 * whole.height * whole.width);
    }
}

void Decoder::convolve(Run& run, Pixels p, const Slots& slots, const Span& strip, const Reach& reach, int64_t height,
                       float* image) const {
  int64_t first = 0;  // line of the picture that is the first one of p
  for (int64_t stage = static_cast<int64_t>(reach.read.size()) - 1; stage >= 0; --stage) {
    const auto at = static_cast<size_t>(stage);
    const Pixels larger = slots.place(stage, {p.pictures, 2 * p.height, 2 * p.width, channels_[at], {}, {}});
    run.check_cancelled();
    stages_[at].up[0].run(run, p, larger);
    const Span& made = reach.made[at];
    p = larger.crop(made.first - 2 * reach.read[at].first, made.lines());
    first = made.first;
    blocks(run, stage, p);
    if (stage == 0) break;
    const Span& next = reach.read[at - 1];
    p = p.crop(next.first - first, next.lines());
  }
  const Span wanted = strip.with(1, height);
  leave(run, p.crop(wanted.first - first, wanted.lines()), strip.first - wanted.first, strip, height, image);
}

void Decoder::leave(Run& run, const Pixels& p, int64_t skip, const Span& strip, int64_t height, float* image) const {
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
  end.out = run.f32(p.count(), 3);
  run.linear(conv_out_, p.act, p.count(), end, &taps);
  run.each(p.pictures * 3, [&](int64_t index, int) {
    const int64_t from = (index / 3 * p.height + skip) * p.width, pixels = strip.lines() * p.width;
    float* to = image + (index * height + strip.first) * p.width;
    for (int64_t i = 0; i < pixels; ++i) to[i] = end.out.row<float>(from + i)[index % 3];
  });
}

}  // namespace spar::cpu
