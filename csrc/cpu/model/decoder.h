// DC-AE pixel decoder (spec 3.4): channels-last pictures as rows of pixels.
#pragma once

#include "model/component.h"

namespace spar::cpu {

// A picture between two blocks: the residual stream, and the same as the next convolution reads it.
struct Pixels {
  int64_t pictures, height, width, channels;
  View x;    // f32 [count, channels]
  View act;  // activations; `x` itself in f32

  int64_t count() const { return pictures * height * width; }
  // Bytes of `x`, of `act` beside it, and of a matrix of activations of the same shape.
  int64_t x_bytes() const { return round_up(count() * channels * 4, 64); }
  int64_t act_bytes(Type type) const { return type == Type::f32 ? 0 : round_up(count() * channels * size_of(type), 64); }
  int64_t bytes(Type type) const { return x_bytes() + act_bytes(type); }
  int64_t hidden_bytes(Type type) const { return count() * row_bytes(type, channels); }
  // The same in memory: `x` at one place, `act` at another.
  Pixels at(char* x, char* act, Type type) const;
  // Lines [first, first + lines) of one picture, in place.
  Pixels crop(int64_t first, int64_t lines) const;
};

// Multi-scale ReLU linear attention, then a gated convolutional feed-forward (E18).
class EfficientViTBlock {
 public:
  EfficientViTBlock(Loader& load, const std::string& prefix, int64_t channels, int64_t head_dim,
                    const std::vector<int64_t>& scales);
  void run(Run& run, const Pixels& p, const std::string& name) const;

 private:
  struct Scale {
    int kernel;
    const float* depth;
    std::vector<PackedLinear> groups;
  };
  void attention(Run& run, const Pixels& p) const;
  void feed_forward(Run& run, const Pixels& p) const;

  int64_t channels_, head_dim_, hidden_;
  PackedLinear qkv_, out_, up_, down_;
  std::vector<Scale> scales_;
  const float *attention_norm_, *attention_bias_, *norm_, *bias_, *depth_weight_, *depth_bias_;
};

// x + norm(conv(silu(conv(x))))
class ResBlock {
 public:
  ResBlock(Loader& load, const std::string& prefix);
  // hidden: `p.hidden_bytes` to work in
  void run(Run& run, const Pixels& p, char* hidden) const;

 private:
  PackedLinear first_, second_;
  const float *norm_, *bias_;
};

// Nearest and 3x3 convolution as four 2x2 convolutions of the small picture, plus channels spread over 2x2 (E17).
class Upsample {
 public:
  Upsample(Loader& load, const std::string& prefix);
  void run(Run& run, const Pixels& from, const Pixels& to) const;

 private:
  PackedLinear phases_[4];
};

// Memory of the stages without attention. A picture and the next larger one, which is made of it, lie at the two ends, the
// residual stream outermost; once the smaller one is not needed, all that is not the larger one is for its blocks.
class Ground {
 public:
  Ground(char* data, int64_t bytes, Type activations) : begin_(data), end_(data + bytes), activations_(activations) {}

  // A picture at the other end than the last one; std::bad_alloc where both do not fit.
  Pixels place(const Pixels& size);
  // Memory beside the picture that was placed last.
  char* beside(int64_t bytes) const;
  // What the residual stream of that picture leaves.
  Ground rest() const;

 private:
  char *begin_, *end_;
  Type activations_;
  bool top_ = true;  // where the last picture lies, if there is one
  int64_t held_ = 0, held_x_ = 0;  // its bytes
};

// Lines of a picture.
struct Span {
  int64_t first, end;

  int64_t lines() const { return end - first; }
  // With `reach` more on both sides, as far as a picture of `height` goes.
  Span with(int64_t reach, int64_t height) const;
};

// How a run is cut: its last `stages` stages, all of convolutions, work on one strip of lines of the picture after
// another. Same bits, less memory, and some lines twice (decoder_strips.cpp). The input `strips` [count, stages] asks for
// it; one strip is the whole picture.
struct Cut {
  int64_t strips, stages;
};

class Decoder : public Component {
 public:
  Decoder(const Config& config, Loader& load);
  void run(Run& run, const Inputs& inputs, Outputs& outputs) const override;

 private:
  struct Stage {
    std::vector<Upsample> up;  // one, or none in the last stage
    std::vector<EfficientViTBlock> attention;
    std::vector<ResBlock> residual;
  };
  // What a strip works on. A stage s that is cut makes `made[s]` of its lines, from lines `read[s]` of the stage before.
  struct Reach {
    std::vector<Span> read, made;
  };
  // A picture of stage `stage`, without memory.
  Pixels size(int64_t stage, const Shape& latent) const;
  Reach reach(const Span& strip, int64_t stages, const Shape& latent) const;
  Cut cut_of(const Run& run, const Inputs& inputs, int64_t height) const;  // InputError where it cannot be
  int64_t ground_bytes(Type type, const Cut& cut, const Shape& latent) const;  // of the stages below global_
  void in_strips(Run& run, const Pixels& p, const Ground& ground, const Cut& cut, const Shape& latent, float* image) const;

  // The stages that see the whole picture; what they return stays where it is until the frame around the call ends.
  Pixels whole(Run& run, const Input& latent) const;
  void enter(Run& run, const float* latent, const Pixels& p) const;
  void blocks(Run& run, int64_t stage, const Pixels& p, const Ground* ground) const;  // ground null: the arena
  // Upsamples p, whose `act` may be missing, to stage `stage`.
  Pixels grow(Run& run, Pixels p, int64_t stage, Ground& ground) const;
  // The stages of `reach` and the end: lines `strip` of pictures of `height` lines, from lines reach.read.back() in p.
  void convolve(Run& run, Pixels p, Ground ground, const Span& strip, const Reach& reach, int64_t height, float* image) const;
  // The same lines from stage 0; p has `skip` more lines above them.
  void leave(Run& run, const Pixels& p, const Ground& ground, int64_t skip, const Span& strip, int64_t height,
             float* image) const;

  int64_t latent_channels_;
  std::vector<int64_t> channels_;
  PackedLinear conv_in_, conv_out_;
  std::vector<Stage> stages_;
  int64_t global_;  // the last stage that sees the whole picture: those below it can be cut
  const float *norm_, *bias_;
};

}  // namespace spar::cpu
