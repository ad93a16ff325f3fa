#include "model/decoder.h"

#include <algorithm>
#include <cstring>

#include "model/pictures.h"

namespace spar::cpu {
namespace {

constexpr float kEps = 1e-5f;
constexpr int64_t kTaskPixels = 96;  // whose convolution, norm and residual one task takes together

}  // namespace

ResBlock::ResBlock(Loader& load, const std::string& prefix)
    : first_(load.convolution(prefix + "conv1")),
      second_(load.convolution(prefix + "conv2")),
      norm_(load.vector(prefix + "norm.weight")),
      bias_(load.vector(prefix + "norm.bias")) {}

void ResBlock::run(Run& run, const Pixels& p, char* memory) const {
  Frame frame(run.arena);
  const int64_t count = p.count();
  const View hidden{memory, run.activations, row_bytes(run.activations, p.channels) / size_of(run.activations)};
  const Taps taps = taps_of(p.height, p.width, p.channels, 3, -1, -1, zeros(run, p.channels).data);
  Epilogue end;
  end.act = Act::silu;
  end.out = hidden;
  run.linear(first_, p.act, count, end, &taps);

  const View strips = run.f32(kTaskPixels * run.seat.threads(), p.channels);
  char* scratch = run.arena.take_bytes(static_cast<size_t>(kGemmScratch * run.seat.threads()));
  run.each_rows(count, kTaskPixels, [&](int64_t first, int64_t rows, int worker) {
    Gemm g;
    g.a = hidden;
    g.taps = &taps;
    g.w = &second_;
    g.m = count;
    g.end.out = strips.rows(worker * kTaskPixels);
    g.end.first_row = first;
    run.kernels.gemm(g, first, rows, 0, second_.panels(), scratch + worker * kGemmScratch);
    Norm norm;
    norm.in = g.end.out;
    norm.out = norm.residual = p.x.rows(first);
    norm.width = p.channels;
    norm.eps = kEps;
    norm.centred = false;
    norm.weight = norm_;
    norm.bias = bias_;
    run.kernels.norm(norm, 0, rows);
    if (p.act.type != Type::bf16) return;
    for (int64_t r = first; r < first + rows; ++r) {
      const float* x = p.x.row<float>(r);
      bf16* y = p.act.row<bf16>(r);
      for (int64_t c = 0; c < p.channels; ++c) y[c] = to_bf16(x[c]);
    }
  });
}

Upsample::Upsample(Loader& load, const std::string& prefix) {
  const Tensor& weight = load.tensor(prefix + "conv.weight");
  const int64_t n = weight.shape[0], in = weight.shape[1];
  load.need_whole_lanes(prefix + "conv", in);
  const float* bias = load.vector(prefix + "conv.bias");
  for (int phase = 0; phase < 4; ++phase) {
    // Of three taps, phase 0 meets the first in one source pixel and the other two in the next; phase 1 the reverse.
    const auto side = [](int odd, int tap) { return odd ? (tap == 2) : (tap > 0); };
    const auto row = [&](int64_t r, float* to) {
      std::vector<float> plain(static_cast<size_t>(in * 9));
      weight.read(r * in * 9, in * 9, plain.data());
      std::fill_n(to, 4 * in, 0.0f);
      for (int64_t c = 0; c < in; ++c)
        for (int t = 0; t < 9; ++t)
          to[(side(phase / 2, t / 3) * 2 + side(phase % 2, t % 3)) * in + c] += plain[static_cast<size_t>(c * 9 + t)];
    };
    phases_[phase] = load.packed(n, 4 * in, row, bias, load.fine());
  }
}

void Upsample::run(Run& run, const Pixels& from, const Pixels& to) const {
  Frame frame(run.arena);
  const View none = zeros(run, from.channels);
  const int64_t repeats = 4 * to.channels / from.channels;
  for (int phase = 0; phase < 4; ++phase) {
    const int a = phase / 2, b = phase % 2;
    Epilogue end;
    end.out = end.residual = to.x;
    end.phase_height = from.height;
    end.phase_width = from.width;
    end.phase_y = a;
    end.phase_x = b;
    run.each_rows(from.count(), 32, [&](int64_t first, int64_t rows, int) {
      for (int64_t m = first; m < first + rows; ++m) {
        const int64_t line = m / from.width;
        const float* x = from.x.row<float>(m);
        float* y = to.x.row<float>((line * 2 + a) * to.width + m % from.width * 2 + b);
        if (repeats == 4) {
          std::memcpy(y, x, static_cast<size_t>(to.channels) * 4);
        } else if (repeats == 2) {
          for (int64_t c = 0; c < to.channels; ++c) y[c] = x[2 * c + a];
        } else {
          for (int64_t c = 0; c < to.channels; ++c) y[c] = x[(4 * c + 2 * a + b) / repeats];
        }
      }
    });
    const Taps taps = taps_of(from.height, from.width, from.channels, 2, a - 1, b - 1, none.data);
    run.linear(phases_[phase], from.act, from.count(), end, &taps);
  }
}

Decoder::Decoder(const Config& config, Loader& load)
    : latent_channels_(config.whole("decoder.latent_channels")), channels_(config.list("decoder.channels")) {
  const std::string at = "model.vae_decoder.decoder.";
  const auto& depths = config.list("decoder.depths");
  const auto& attention = config.list("decoder.attention");
  conv_in_ = load.convolution(at + "conv_in");
  for (size_t i = 0; i < channels_.size(); ++i) {
    Stage stage;
    const std::string prefix = at + "up_blocks." + std::to_string(i) + ".";
    const bool last = i + 1 == channels_.size();
    if (!last) stage.up.emplace_back(load, prefix + "0.");
    for (int64_t b = 0; b < depths[i]; ++b) {
      const std::string block = prefix + std::to_string(b + (last ? 0 : 1)) + ".";
      if (attention[i])
        stage.attention.emplace_back(load, block, channels_[i], config.whole("decoder.head_dim"),
                                     config.list("decoder.scales." + std::to_string(i)));
      else
        stage.residual.emplace_back(load, block);
    }
    stages_.push_back(std::move(stage));
  }
  global_ = 0;
  while (global_ + 1 < static_cast<int64_t>(stages_.size()) && stages_[static_cast<size_t>(global_)].attention.empty())
    ++global_;
  norm_ = load.vector(at + "norm_out.weight");
  bias_ = load.vector(at + "norm_out.bias");
  conv_out_ = load.convolution(at + "conv_out");
}

void Decoder::enter(Run& run, const float* latent, const Pixels& p) const {
  Frame frame(run.arena);
  const int64_t count = p.count(), pixels = p.height * p.width, repeats = p.channels / latent_channels_;
  const View plain = run.f32(count, latent_channels_);
  View rows = plain;
  to_rows(run, latent, plain, p.pictures, latent_channels_, pixels);
  if (run.activations != Type::f32) {
    rows = run.act(count, latent_channels_);
    run.convert(plain, rows, count, latent_channels_);
  }
  const Taps taps = taps_of(p.height, p.width, latent_channels_, 3, -1, -1, zeros(run, latent_channels_).data);
  Epilogue end;
  end.out = p.x;
  if (run.tapping()) {  // the golden tensor is the convolution without its shortcut
    run.linear(conv_in_, rows, count, end, &taps);
    run.tap_picture("conv_in", p.x, p.pictures, pixels, p.channels, {p.pictures, p.channels, p.height, p.width});
  }
  for (int64_t m = 0; m < count; ++m)
    for (int64_t c = 0; c < p.channels; ++c) p.x.row<float>(m)[c] = plain.row<float>(m)[c / repeats];
  end.residual = p.x;
  run.linear(conv_in_, rows, count, end, &taps);
}

void Decoder::blocks(Run& run, int64_t index, const Pixels& p, const Ground* ground) const {
  const Stage& stage = stages_[static_cast<size_t>(index)];
  const std::string at = "stage_" + std::to_string(index);
  const auto refresh = [&] {
    if (p.act.data != p.x.data) run.convert(p.x, p.act, p.count(), p.channels);
  };
  for (size_t b = 0; b < stage.attention.size(); ++b) {
    run.check_cancelled();
    stage.attention[b].run(run, p, at + ".block_" + std::to_string(b + stage.up.size()));
  }
  refresh();
  Frame frame(run.arena);
  char* hidden = nullptr;
  if (!stage.residual.empty()) {
    const int64_t bytes = p.hidden_bytes(run.activations);
    hidden = ground ? ground->beside(bytes) : run.arena.take_bytes(static_cast<size_t>(bytes));
  }
  for (const ResBlock& block : stage.residual) {  // each leaves both up to date
    run.check_cancelled();
    block.run(run, p, hidden);
  }
  run.tap_picture(at, p.x, p.pictures, p.height * p.width, p.channels, {p.pictures, p.channels, p.height, p.width});
}

Pixels Decoder::whole(Run& run, const Input& latent) const {
  const int64_t last = static_cast<int64_t>(channels_.size()) - 1;
  const Type type = run.activations;
  int64_t most[2] = {0, 0};  // of the stages whose memory the last of these has, and of those between
  for (int64_t stage = global_; stage <= last; ++stage) {
    int64_t& size = most[(stage - global_) % 2];
    size = std::max(size, this->size(stage, latent.shape).bytes(type));
  }
  char* places[2];
  places[0] = run.arena.take_bytes(static_cast<size_t>(most[0]));
  const size_t mark = run.arena.mark();
  places[1] = run.arena.take_bytes(static_cast<size_t>(most[1]));
  const auto placed = [&](int64_t stage) {
    const Pixels p = size(stage, latent.shape);
    char* at = places[(stage - global_) % 2];
    return p.at(at, at + p.x_bytes(), type);
  };
  Pixels p = placed(last);
  enter(run, latent.f32, p);
  for (int64_t stage = last;; --stage) {
    if (stage == global_) run.arena.release(mark);  // the stage before is not read any more
    blocks(run, stage, p, nullptr);
    if (stage == global_) return p;
    const Pixels larger = placed(stage - 1);
    run.check_cancelled();
    stages_[static_cast<size_t>(stage - 1)].up[0].run(run, p, larger);
    p = larger;
  }
}

void Decoder::run(Run& run, const Inputs& inputs, Outputs& outputs) const {
  const Input& latent = inputs.at("latent");
  const Pixels picture = size(0, latent.shape);
  const Cut cut = cut_of(run, inputs, picture.height);
  Pixels p = whole(run, latent);
  const int64_t bytes = ground_bytes(run.activations, cut, latent.shape);
  Ground ground(run.arena.take_bytes(static_cast<size_t>(bytes)), bytes, run.activations);
  for (int64_t stage = global_ - 1; stage >= cut.stages; --stage) {
    p = grow(run, p, stage, ground);
    blocks(run, stage, p, &ground);
  }
  float* image = outputs.make("image", {picture.pictures, 3, picture.height, picture.width});
  if (cut.strips > 1) return in_strips(run, p, ground, cut, latent.shape, image);
  const Span all{0, picture.height};
  convolve(run, p, ground, all, reach(all, cut.stages, latent.shape), picture.height, image);
}

}  // namespace spar::cpu
