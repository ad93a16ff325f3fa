#include <memory>

#include "model/model.h"
#include "testing.h"

using namespace spar::cpu;
using namespace spar::testing;

namespace {

constexpr int64_t kLatent = 8;

// Stages of 8 (largest), 16 and 32 channels; the last one attends, the others have two residual blocks each.
struct Small {
  Config config;
  Tensors tensors;
  std::vector<std::unique_ptr<std::vector<float>>> held;

  Small() {
    config.numbers = {{"decoder.latent_channels", kLatent}, {"decoder.head_dim", 8}};
    config.lists = {{"decoder.channels", {8, 16, 32}}, {"decoder.depths", {2, 2, 1}}, {"decoder.attention", {0, 0, 1}},
                    {"decoder.scales.0", {}},          {"decoder.scales.1", {}},      {"decoder.scales.2", {3}}};
    const std::string at = "model.vae_decoder.decoder.";
    convolution(at + "conv_in", 32, kLatent, 3);
    const std::string first = at + "up_blocks.2.0.", attention = first + "attn.", forward = first + "conv_out.";
    for (const char* name : {"to_q", "to_k", "to_v"}) add(attention + name + ".weight", {32, 32});
    add(attention + "to_qkv_multiscale.0.proj_in.weight", {96, 1, 3, 3});
    add(attention + "to_qkv_multiscale.0.proj_out.weight", {96, 8, 1, 1});
    add(attention + "to_out.weight", {32, 64});
    norm(attention + "norm_out", 32);
    convolution(forward + "conv_inverted", 256, 32, 1);
    convolution(forward + "conv_depth", 256, 1, 3);
    add(forward + "conv_point.weight", {32, 128, 1, 1});
    norm(forward + "norm", 32);
    for (const int64_t stage : {1, 0}) {
      const std::string blocks = at + "up_blocks." + std::to_string(stage) + ".";
      const int64_t channels = config.list("decoder.channels")[static_cast<size_t>(stage)];
      convolution(blocks + "0.conv", channels, 2 * channels, 3);
      for (const char* block : {"1.", "2."}) {
        convolution(blocks + block + "conv1", channels, channels, 3);
        add(blocks + block + "conv2.weight", {channels, channels, 3, 3});
        norm(blocks + block + "norm", channels);
      }
    }
    norm(at + "norm_out", 8);
    convolution(at + "conv_out", 3, 8, 3);
  }

  void add(const std::string& name, Shape shape) {
    int64_t count = 1;
    for (const int64_t size : shape) count *= size;
    held.push_back(std::make_unique<std::vector<float>>(numbers(count, static_cast<uint32_t>(held.size()))));
    tensors[name] = {held.back()->data(), Stored::f32, std::move(shape)};
  }
  void norm(const std::string& name, int64_t width) {
    add(name + ".weight", {width});
    add(name + ".bias", {width});
  }
  void convolution(const std::string& name, int64_t out, int64_t in, int64_t kernel) {
    add(name + ".weight", {out, in, kernel, kernel});
    add(name + ".bias", {out});
  }
};

std::vector<float> decode(Model& model, std::vector<int64_t> strips = {}) {
  const Shape shape = {2, kLatent, 5, 3};
  const auto latent = numbers(2 * kLatent * 15, 3);
  Inputs inputs;
  inputs["latent"].f32 = latent.data();
  inputs["latent"].shape = shape;
  if (!strips.empty()) {
    inputs["strips"].whole = strips.data();
    inputs["strips"].shape = {2};
  }
  const Outputs out = model.run("decoder", inputs, false, nullptr);
  const float* image = out.arrays.at("image").data.get();
  return {image, image + 2 * 3 * 20 * 12};
}

const Registration strips("decoder: strips give the bits of the whole picture, within the memory that is theirs", [] {
  const Small small;
  for (const std::string precision : {"fp32", "bf16"})
    for (const std::string isa : {"", "scalar", "emulated_amx"}) {
      Model model(small.config, precision, 2, false, isa);
      model.load("decoder", small.tensors, 64 << 20);
      const auto whole = decode(model);
      for (const int64_t stages : {1, 2})
        for (const int64_t count : {1, 2, 3, 7, 20}) expect(decode(model, {count, stages}) == whole, "a strip differs");
      at_once(3, [&](int i) { expect(decode(model, {i + 2, 2}) == whole, "a strip differs beside others"); });
    }
});

}  // namespace
