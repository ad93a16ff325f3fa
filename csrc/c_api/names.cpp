#include "c_api/names.h"

#include <string_view>

#include "c_api/error.h"

namespace spar::c_api {
namespace {

constexpr std::string_view kTower = "model.vision_tower.", kProjector = "model.multi_modal_projector.",
                           kLayers = "encoder.layer.";

constexpr std::pair<std::string_view, std::string_view> kPrefixes[] = {
    {"language_model.model.", "model.language_model."},  // later transformers, and InternVL itself
    {"language_model.lm_head.", "lm_head."},
    {"vision_tower.", kTower},
    {"vision_model.", kTower},  // InternVL itself
    {"multi_modal_projector.", kProjector},
    {"mlp1.", kProjector},  // InternVL itself, and the image tokenizer
    {"encoder.", kTower},   // from here on: the image tokenizer (spec 7.4)
    {"decoder.", "model.vae_decoder.decoder."},
    {"down_blocks.", "model.vae_decoder.down_blocks."},
    {"down_mlp.", "model.vae_decoder.down_mlp."},
    {"semantic_down_blocks.", "model.vae_decoder.semantic_down_blocks."},
    {"semantic_down_mlp.", "model.vae_decoder.semantic_down_mlp."},
    {"pixel_down_blocks.", "model.vae_decoder.pixel_down_blocks."},
    {"pixel_down_mlp.", "model.vae_decoder.pixel_down_mlp."},
    {"pixel_transformer.", "model.vae_decoder.pixel_transformer."},
    {"fusion_layer.", "model.vae_decoder.fusion_layer."}};

// Below the tower, in the port's naming. One with a dot at its end stands for all that follows.
constexpr std::pair<std::string_view, std::string_view> kEmbeddings[] = {
    {"embeddings.cls_token", "embeddings.class_embedding"},
    {"embeddings.position_embeddings", "embeddings.position_embedding"},
    {"embeddings.patch_embeddings.projection.", "embeddings.patch_embedding."}};
constexpr std::pair<std::string_view, std::string_view> kLayerParts[] = {{"attention.projection_layer.", "attn.proj."},
                                                                         {"layernorm_before.", "norm1."},
                                                                         {"layernorm_after.", "norm2."},
                                                                         {"lambda_1", "ls1"},
                                                                         {"lambda_2", "ls2"},
                                                                         {"mlp.", "mlp."}};
constexpr std::pair<std::string_view, std::string_view> kProjectorParts[] = {
    {"layer_norm.", "0."}, {"linear_1.", "1."}, {"linear_2.", "3."}};

template <size_t n>
bool renamed(std::string_view tail, const std::pair<std::string_view, std::string_view> (&table)[n], std::string& to) {
  for (const auto& [theirs, ours] : table)
    if (theirs.ends_with('.') ? tail.starts_with(theirs) : tail == theirs) {
      to = std::string(ours) + std::string(tail.substr(theirs.size()));
      return true;
    }
  return false;
}

size_t digits(std::string_view text) {
  size_t count = 0;
  while (count < text.size() && text[count] >= '0' && text[count] <= '9') ++count;
  return count;
}

// "encoder.layer.N.rest" -> N and rest.
bool layer_of(std::string_view tail, std::string_view& number, std::string_view& rest) {
  if (!tail.starts_with(kLayers)) return false;
  tail.remove_prefix(kLayers.size());
  const size_t length = digits(tail);
  if (!length || length >= tail.size() || tail[length] != '.') return false;
  number = tail.substr(0, length);
  rest = tail.substr(length + 1);
  return true;
}

[[noreturn]] void collision(const std::string& where, const std::string& one, const std::string& other,
                            const std::string& ours) {
  throw CheckpointError(where + ": `" + one + "` and `" + other + "` both mean `" + ours + "`; keep one");
}

}  // namespace

std::string canonical(std::string name) {
  for (const auto& [prefix, ours] : kPrefixes)
    if (name.starts_with(prefix)) {
      name = std::string(ours) + name.substr(prefix.size());
      break;
    }
  std::string tail;
  if (name.starts_with(kTower)) {
    const std::string_view given = std::string_view(name).substr(kTower.size());
    if (renamed(given, kEmbeddings, tail)) return std::string(kTower) + tail;
    std::string_view number, rest;
    if (layer_of(given, number, rest) && renamed(rest, kLayerParts, tail))
      return std::string(kTower) + "encoder.layers." + std::string(number) + "." + tail;
  }
  if (name.starts_with(kProjector) && renamed(std::string_view(name).substr(kProjector.size()), kProjectorParts, tail))
    return std::string(kProjector) + tail;
  return name;
}

std::map<std::string, std::vector<std::string>> normalise(const std::vector<std::string>& names,
                                                          const std::string& where) {
  std::map<std::string, std::vector<std::string>> found;
  std::map<std::string, std::map<char, std::string>> split;
  for (const std::string& name : names) {
    const std::string ours = canonical(name);
    std::string_view number, rest;
    const bool in_layer =
        ours.starts_with(kTower) && layer_of(std::string_view(ours).substr(kTower.size()), number, rest);
    const bool piece = in_layer && rest.starts_with("attention.") && rest.substr(11).starts_with("_proj.") &&
                       std::string_view("qkv").find(rest[10]) != std::string_view::npos;
    const std::string_view kind = piece ? rest.substr(17) : std::string_view();
    if (kind == "weight" || kind == "bias") {
      const std::string fused =
          std::string(kTower) + "encoder.layers." + std::string(number) + ".attn.qkv." + std::string(kind);
      const auto [place, fresh] = split[fused].emplace(rest[10], name);
      if (!fresh) collision(where, place->second, name, ours);
    } else if (const auto [place, fresh] = found.emplace(ours, std::vector{name}); !fresh) {
      collision(where, place->second[0], name, ours);
    }
  }
  for (const auto& [fused, pieces] : split) {
    if (const auto place = found.find(fused); place != found.end())
      collision(where, place->second[0], pieces.begin()->second, fused);
    std::vector<std::string> all;
    for (const char which : {'q', 'k', 'v'}) {
      const auto place = pieces.find(which);
      if (place == pieces.end())
        throw CheckpointError(where + ": lacks " + which + " beside `" + pieces.begin()->second +
                              "`; the file is incomplete");
      all.push_back(place->second);
    }
    found[fused] = std::move(all);
  }
  return found;
}

bool ignored_name(const std::string& name) {
  return name.starts_with("model.alignment_projector.") || name.find("regressor") != std::string::npos;
}

}  // namespace spar::c_api
