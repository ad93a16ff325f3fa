#include "c_api/shapes.h"

#include <string_view>

namespace spar::c_api {
namespace {

class ShapeList {
 public:
  NamedShapes made;

  void add(const std::string& name, Shape shape) { made.emplace_back(name, std::move(shape)); }
  // Weight of `shape` and a bias as long as its first axis.
  void affine(const std::string& prefix, Shape shape) {
    add(prefix + ".bias", {shape[0]});
    add(prefix + ".weight", std::move(shape));
  }

  void vision(const ModelConfig& c) {
    const Values& v = c.vision;
    const int64_t width = v.whole("width"), hidden = v.whole("mlp_width"), patch = v.whole("patch_size"),
                  out = c.language.whole("width");
    const std::string tower = "model.vision_tower.", projector = "model.multi_modal_projector.";
    add(tower + "embeddings.class_embedding", {1, 1, width});
    add(tower + "embeddings.position_embedding", {1, 1 + c.grid() * c.grid(), width});
    affine(tower + "embeddings.patch_embedding", {width, 3, patch, patch});
    for (int64_t i = 0; i < v.whole("depth"); ++i) {
      const std::string layer = tower + "encoder.layers." + std::to_string(i) + ".";
      affine(layer + "norm1", {width});
      affine(layer + "attn.qkv", {3 * width, width});
      affine(layer + "attn.proj", {width, width});
      add(layer + "ls1", {width});
      affine(layer + "norm2", {width});
      affine(layer + "mlp.fc1", {hidden, width});
      affine(layer + "mlp.fc2", {width, hidden});
      add(layer + "ls2", {width});
    }
    affine(projector + "0", {4 * width});
    affine(projector + "1", {out, 4 * width});
    affine(projector + "3", {out, out});
  }

  void qwen2(const std::string& prefix, const ModelConfig& c, int64_t depth) {
    const int64_t width = c.language.whole("width"), keys = c.language.whole("kv_heads") * c.head_dim(),
                  hidden = c.language.whole("mlp_width");
    for (int64_t i = 0; i < depth; ++i) {
      const std::string layer = prefix + "layers." + std::to_string(i) + ".";
      add(layer + "input_layernorm.weight", {width});
      affine(layer + "self_attn.q_proj", {width, width});
      affine(layer + "self_attn.k_proj", {keys, width});
      affine(layer + "self_attn.v_proj", {keys, width});
      add(layer + "self_attn.o_proj.weight", {width, width});
      add(layer + "post_attention_layernorm.weight", {width});
      add(layer + "mlp.gate_proj.weight", {hidden, width});
      add(layer + "mlp.up_proj.weight", {hidden, width});
      add(layer + "mlp.down_proj.weight", {width, hidden});
    }
    add(prefix + "norm.weight", {width});
  }

  void router(int64_t width, int64_t picks) {
    const std::string at = "model.dynamic_router.";
    affine(at + "router.0", {width / 2, width});
    affine(at + "router.2", {picks, width / 2});
    add(at + "layer_scales", {picks});
    affine(at + "out_norm", {width});
    affine(at + "proj", {width, width});
  }

  void glumb(const std::string& prefix, int64_t width, int64_t hidden) {
    affine(prefix + "conv_inverted", {2 * hidden, width, 1, 1});
    affine(prefix + "conv_depth", {2 * hidden, 1, 3, 3});
    add(prefix + "conv_point.weight", {width, hidden, 1, 1});
  }

  void dit(const ModelConfig& c) {
    const int64_t width = c.dit_width(), channels = c.dit.whole("in_channels");
    const std::string at = "model.dit.", embedder = at + "time_embed.emb.timestep_embedder.";
    affine(at + "patch_embed.proj", {width, channels, 1, 1});
    affine(embedder + "linear_1", {width, 256});
    affine(embedder + "linear_2", {width, width});
    affine(at + "time_embed.linear", {6 * width, width});
    affine(at + "caption_projection.linear_1", {width, c.dit.whole("caption_width")});
    affine(at + "caption_projection.linear_2", {width, width});
    add(at + "caption_norm.weight", {width});
    for (int64_t i = 0; i < c.dit.whole("depth"); ++i) {
      const std::string block = at + "transformer_blocks." + std::to_string(i) + ".";
      add(block + "scale_shift_table", {6, width});
      for (const char* which : {"q", "k", "v"}) add(block + "attn1.to_" + which + ".weight", {width, width});
      affine(block + "attn1.to_out.0", {width, width});
      for (const char* which : {"to_q", "to_k", "to_v", "to_out.0"}) affine(block + "attn2." + which, {width, width});
      glumb(block + "ff.", width, c.dit_mlp_width());
    }
    add(at + "scale_shift_table", {2, width});
    affine(at + "proj_out", {channels, width});
  }

  void stream(const std::string& prefix, int64_t blocks, int64_t width, int64_t channels) {
    for (int64_t i = 0; i < blocks; ++i) {
      const std::string block = prefix + "down_blocks." + std::to_string(i) + ".mlp.";
      affine(block + "0", {width});
      affine(block + "1", {width, width});
      affine(block + "3", {width, width});
    }
    affine(prefix + "down_mlp.0", {width});
    affine(prefix + "down_mlp.1", {channels, width});
    affine(prefix + "down_mlp.3", {channels, channels});
  }

  void streams(const Values& s, int64_t width) {
    const std::string at = "model.vae_decoder.";
    const int64_t blocks = s.whole("blocks"), channels = s.whole("latent_channels"),
                  hidden = s.whole("pixel_mlp_width");
    if (s.at("dual") == 0) return stream(at, blocks, width, channels);
    for (int64_t i = 0; i < s.whole("pixel_depth"); ++i) {
      const std::string layer = at + "pixel_transformer.layers." + std::to_string(i) + ".";
      add(layer + "self_attn.in_proj_weight", {3 * width, width});
      add(layer + "self_attn.in_proj_bias", {3 * width});
      affine(layer + "self_attn.out_proj", {width, width});
      affine(layer + "linear1", {hidden, width});
      affine(layer + "linear2", {width, hidden});
      affine(layer + "norm1", {width});
      affine(layer + "norm2", {width});
    }
    stream(at + "semantic_", blocks, width, channels);
    stream(at + "pixel_", blocks, width, channels);
    affine(at + "fusion_layer.0", {2 * channels});
    affine(at + "fusion_layer.1", {2 * channels, 2 * channels});
    affine(at + "fusion_layer.3", {channels, 2 * channels});
  }

  void efficient_vit(const std::string& prefix, int64_t width, int64_t head_dim, const std::vector<int64_t>& scales) {
    for (const char* which : {"q", "k", "v"}) add(prefix + "attn.to_" + which + ".weight", {width, width});
    for (size_t i = 0; i < scales.size(); ++i) {
      const std::string branch = prefix + "attn.to_qkv_multiscale." + std::to_string(i) + ".";
      add(branch + "proj_in.weight", {3 * width, 1, scales[i], scales[i]});
      add(branch + "proj_out.weight", {3 * width, head_dim, 1, 1});
    }
    add(prefix + "attn.to_out.weight", {width, (1 + static_cast<int64_t>(scales.size())) * width});
    affine(prefix + "attn.norm_out", {width});
    glumb(prefix + "conv_out.", width, 4 * width);
    affine(prefix + "conv_out.norm", {width});
  }

  void decoder(const DecoderShape& x) {
    const std::string at = "model.vae_decoder.decoder.";
    const size_t last = x.channels.size() - 1;
    affine(at + "conv_in", {x.channels[last], x.latent_channels, 3, 3});
    for (size_t stage = 0; stage <= last; ++stage) {
      const std::string up = at + "up_blocks." + std::to_string(stage) + ".";
      const int64_t width = x.channels[stage], first = stage < last;
      if (first) affine(up + "0.conv", {width, x.channels[stage + 1], 3, 3});
      for (int64_t i = first; i < first + x.depths[stage]; ++i) {
        const std::string block = up + std::to_string(i) + ".";
        if (x.attention[stage]) {
          efficient_vit(block, width, x.head_dim, x.scales[stage]);
          continue;
        }
        affine(block + "conv1", {width, width, 3, 3});
        add(block + "conv2.weight", {width, width, 3, 3});
        affine(block + "norm", {width});
      }
    }
    affine(at + "norm_out", {x.channels[0]});
    affine(at + "conv_out", {3, x.channels[0], 3, 3});
  }
};

constexpr std::pair<std::string_view, std::string_view> kOwners[] = {
    {"model.vision_tower.", "vision"},         {"model.multi_modal_projector.", "vision"},
    {"model.language_model.", "language"},     {"lm_head.", "lm_head"},
    {"model.dynamic_router.", "condition"},    {"model.llm_connector.", "condition"},
    {"model.projector.", "condition"},         {"model.dit.", "dit"},
    {"model.vae_decoder.decoder.", "decoder"}, {"model.vae_decoder.", "streams"}};

}  // namespace

NamedShapes expected(const ModelConfig& config) {
  const int64_t width = config.language.whole("width"), words = config.language.whole("vocab_size");
  ShapeList list;
  list.vision(config);
  list.add("model.language_model.embed_tokens.weight", {words, width});
  list.qwen2("model.language_model.", config, config.language.whole("depth"));
  list.add("lm_head.weight", {words, width});
  list.add("model.latent_queries", {1, config.query_count, width});
  if (config.router) list.router(width, config.router->whole("picks"));
  list.qwen2("model.llm_connector.", config, config.connector_depth);
  list.affine("model.projector", {config.dit.whole("caption_width"), width});
  list.dit(config);
  list.streams(config.streams, width);
  list.decoder(config.decoder);
  return std::move(list.made);
}

std::string component_of(const std::string& name) {
  if (name == "model.language_model.embed_tokens.weight" || name == "model.latent_queries") return "host";
  std::string_view owner;
  for (const auto& [prefix, component] : kOwners)
    if (name.starts_with(prefix)) {
      owner = component;
      break;
    }
  if (owner != "dit") return std::string(owner);
  if (name.starts_with("model.dit.caption_")) return "context";
  if (name.starts_with("model.dit.time_embed.") || name.ends_with("scale_shift_table")) return "modulation";
  // The value bias is part of the step's output bias; the key bias has no effect on anything.
  return name.find(".attn2.to_k.") != std::string::npos || name.ends_with(".attn2.to_v.weight") ? "context" : "dit";
}

}  // namespace spar::c_api
