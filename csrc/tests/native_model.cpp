#include <algorithm>
#include <cmath>
#include <memory>

#include "core/kernels.h"
#include "model/keyvalues.h"
#include "model/model.h"
#include "testing.h"

using namespace spar::cpu;
using namespace spar::testing;

namespace {

// Random tensors of a small model, each in memory of exactly its size.
struct Weights {
  Tensors tensors;
  std::vector<std::unique_ptr<std::vector<float>>> held;

  void add(const std::string& name, Shape shape) {
    int64_t count = 1;
    for (const int64_t size : shape) count *= size;
    held.push_back(std::make_unique<std::vector<float>>(numbers(count, static_cast<uint32_t>(held.size()))));
    for (float& value : *held.back()) value *= 0.2f;
    tensors[name] = {held.back()->data(), Stored::f32, std::move(shape)};
  }
  void linear(const std::string& name, int64_t out, int64_t in, bool bias = true) {
    add(name + ".weight", {out, in});
    if (bias) add(name + ".bias", {out});
  }
};

constexpr int64_t kWidth = 64, kHidden = 96, kChannels = 32, kLayers = 2;

Config config() {
  Config made;
  made.numbers = {{"dit.depth", kLayers},       {"dit.width", kWidth},        {"dit.heads", 2},
                  {"dit.head_dim", 32},         {"dit.cross_heads", 4},       {"dit.mlp_width", kHidden},
                  {"dit.in_channels", kChannels}, {"dit.sample_size", 4},     {"dit.positions", 1},
                  {"dit.eps", 1e-6},            {"language.width", kWidth},   {"language.depth", kLayers},
                  {"language.heads", 4},        {"language.kv_heads", 2},     {"language.rope_theta", 1e4},
                  {"language.eps", 1e-6}};
  made.lists = {{"levels", {1, 2}}};
  return made;
}

Weights dit_weights() {
  Weights w;
  w.linear("model.dit.patch_embed.proj", kWidth, kChannels);
  for (int64_t i = 0; i < kLayers; ++i) {
    const std::string at = "model.dit.transformer_blocks." + std::to_string(i) + ".";
    for (const char* name : {"attn1.to_q", "attn1.to_k", "attn1.to_v"}) w.linear(at + name, kWidth, kWidth, false);
    for (const char* name : {"attn1.to_out.0", "attn2.to_q", "attn2.to_out.0"}) w.linear(at + name, kWidth, kWidth);
    w.add(at + "attn2.to_v.bias", {kWidth});
    w.linear(at + "ff.conv_inverted", 2 * kHidden, kWidth);
    w.add(at + "ff.conv_depth.weight", {2 * kHidden, 1, 3, 3});
    w.add(at + "ff.conv_depth.bias", {2 * kHidden});
    w.linear(at + "ff.conv_point", kWidth, kHidden, false);
  }
  w.linear("model.dit.proj_out", kChannels, kWidth);
  return w;
}

Weights language_weights() {
  Weights w;
  for (int64_t i = 0; i < kLayers; ++i) {
    const std::string at = "model.language_model.layers." + std::to_string(i) + ".";
    w.linear(at + "self_attn.q_proj", kWidth, kWidth);
    for (const char* name : {"self_attn.k_proj", "self_attn.v_proj"}) w.linear(at + name, kWidth / 2, kWidth);
    w.linear(at + "self_attn.o_proj", kWidth, kWidth, false);
    for (const char* name : {"mlp.gate_proj", "mlp.up_proj"}) w.linear(at + name, kHidden, kWidth, false);
    w.linear(at + "mlp.down_proj", kWidth, kHidden, false);
    w.add(at + "input_layernorm.weight", {kWidth});
    w.add(at + "post_attention_layernorm.weight", {kWidth});
  }
  w.add("model.language_model.norm.weight", {kWidth});
  return w;
}

// Arrays in memory of exactly their size, as inputs.
struct Given {
  Inputs inputs;
  std::vector<std::unique_ptr<std::vector<float>>> floats;
  std::vector<std::unique_ptr<std::vector<int64_t>>> wholes;

  void add(const std::string& name, Shape shape) {
    int64_t count = 1;
    for (const int64_t size : shape) count *= size;
    floats.push_back(std::make_unique<std::vector<float>>(numbers(count, 7)));
    inputs[name].f32 = floats.back()->data();
    inputs[name].shape = std::move(shape);
  }
  void indices(const std::string& name, std::vector<int64_t> values) {
    wholes.push_back(std::make_unique<std::vector<int64_t>>(std::move(values)));
    inputs[name].whole = wholes.back()->data();
    inputs[name].shape = {static_cast<int64_t>(wholes.back()->size())};
  }
};

// One step of several requests in one run: request r has two branches over a text of texts[r] tokens, and numbers that
// follow from its length.
std::vector<float> dit_step(Model& model, const std::vector<int64_t>& texts = {9}) {
  Given given;
  const int64_t requests = static_cast<int64_t>(texts.size()), pixels = kChannels * 15;
  const auto add = [&](const std::string& name, int64_t each, Shape shape) {
    shape.insert(shape.begin(), requests);
    given.add(name, std::move(shape));
    for (int64_t r = 0; r < requests; ++r) {
      const auto own = numbers(each, static_cast<unsigned>(texts[static_cast<size_t>(r)]));
      std::copy(own.begin(), own.end(), given.floats.back()->begin() + r * each);
    }
  };
  add("latent", pixels, {kChannels, 3, 5});
  add("modulation", kLayers * 6 * kWidth, {kLayers, 6, kWidth});
  add("final_modulation", 2 * kWidth, {2, kWidth});
  std::vector<int64_t> branches, lengths;
  for (int64_t r = 0; r < requests; ++r) {
    const int64_t tokens = texts[static_cast<size_t>(r)];
    branches.insert(branches.end(), {r, r});
    lengths.insert(lengths.end(), {tokens - 2, tokens});
    auto context = std::make_shared<CrossContext>(model.activations(), kLayers, 2, 4, kWidth / 4, tokens);
    const auto keys = numbers(kLayers * 2 * tokens * kWidth, 3), values = numbers(kLayers * 2 * tokens * kWidth, 4);
    context->store.write(tokens, keys.data(), values.data());
    given.inputs["cross_keys"].crosses.push_back(context);
  }
  given.inputs["cross_values"].crosses = given.inputs["cross_keys"].crosses;
  given.indices("branches", branches);
  given.indices("lengths", lengths);
  Outputs out = model.run("dit", given.inputs, false, nullptr);
  const Output& velocity = out.arrays.at("velocity");
  return {velocity.data.get(), velocity.data.get() + requests * 2 * pixels};
}

Outputs text(Model& model, int64_t tokens, const Outputs* before) {
  Given given;
  given.add("inputs_embeds", {1, tokens, kWidth});
  std::vector<int64_t> rows;
  for (int64_t i = 0; i < tokens; i += 2) rows.push_back(i);
  given.indices("rows", rows);
  Input& keys = given.inputs["past_keys"];
  keys.shape = {kLayers, 1, 2, 0, kWidth / 4};
  if (before) {
    keys.cache = before->cache;
    keys.cached = before->cached;
  }
  given.inputs["past_values"] = keys;
  return model.run("language", given.inputs, false, nullptr);
}

std::vector<float> conversation(Model& model, const Outputs& start) {
  Outputs state = text(model, 1, &start);
  for (int i = 0; i < 40; ++i) state = text(model, 1, &state);
  const Output& levels = state.arrays.at("hidden_levels");
  return {levels.data.get(), levels.data.get() + 2 * kWidth};
}

const Registration models("native model: all instruction sets agree, and callers at once do not disturb each other", [] {
  const Weights dit = dit_weights(), language = language_weights();
  for (const std::string precision : {"fp32", "bf16", "int8", "int4"}) {
    Model best(config(), precision, 2, false, "");
    best.load("dit", dit.tensors, 64 << 20);
    best.load("language", language.tensors, 64 << 20);
    const auto want = dit_step(best);
    std::vector<std::string> isas = {"emulated_amx"};
    for (const Kernels* table : kernel_tables()) isas.emplace_back(name(table->isa));
    for (const std::string& isa : isas) {
      Model other(config(), precision, 1, false, isa);
      other.load("dit", dit.tensors, 64 << 20);
      const auto got = dit_step(other);
      const float allowed = precision == "fp32" ? 1e-3f : 0.5f;
      for (size_t i = 0; i < want.size(); ++i) expect(std::fabs(got[i] - want[i]) < allowed, isa + " differs");
    }
    std::vector<float> alone;
    for (const int64_t tokens : {9, 4, 33}) {
      const auto own = dit_step(best, {tokens});
      alone.insert(alone.end(), own.begin(), own.end());
    }
    const Outputs start = text(best, 37, nullptr);
    const auto said = conversation(best, text(best, 37, nullptr));
    at_once(4, [&](int i) {
      expect(dit_step(best) == want, "a DiT step differs when several run");
      expect(dit_step(best, {9, 4, 33}) == alone, "a DiT step differs among those of other requests");
      if (i % 2) expect(conversation(best, start) == said, "a text differs when several continue one prefix");
    });
  }
});

}  // namespace
