#include "c_api/detect.h"

#include <algorithm>
#include <cmath>

namespace spar::c_api {
namespace {

const std::string kTowerAt = "model.vision_tower.", kLanguageAt = "model.language_model.", kDitAt = "model.dit.",
                  kCoderAt = "model.vae_decoder.", kDecoderAt = kCoderAt + "decoder.",
                  kPixelAt = kCoderAt + "pixel_transformer.";

void tell(Values& values, const char* field, std::optional<int64_t> found) {
  if (found) values[field] = static_cast<double>(*found);
}

}  // namespace

bool Detected::has(const std::string& prefix) const {
  const auto place = shapes_.lower_bound(prefix);
  return place != shapes_.end() && place->first.starts_with(prefix);
}

std::optional<int64_t> Detected::size(const std::string& name, size_t axis) const {
  const auto place = shapes_.find(name);
  if (place == shapes_.end() || axis >= place->second.size()) return {};
  return place->second[axis];
}

std::optional<int64_t> Detected::count(const std::string& prefix) const {
  std::optional<int64_t> most;
  for (auto place = shapes_.lower_bound(prefix); place != shapes_.end() && place->first.starts_with(prefix); ++place) {
    const std::string& name = place->first;
    int64_t number = 0;
    size_t at = prefix.size(), digits = 0;
    for (; at < name.size() && name[at] >= '0' && name[at] <= '9' && digits < 7; ++at, ++digits)
      number = number * 10 + (name[at] - '0');
    if (digits && digits < 7 && at < name.size() && name[at] == '.') most = std::max(most.value_or(0), number + 1);
  }
  return most;
}

Values Detected::vision() const {
  Values found;
  const auto patch = size(kTowerAt + "embeddings.patch_embedding.weight", 3);
  const auto rows = size(kTowerAt + "embeddings.position_embedding", 1);
  tell(found, "width", size(kTowerAt + "embeddings.patch_embedding.weight", 0));
  tell(found, "depth", count(kTowerAt + "encoder.layers."));
  tell(found, "mlp_width", size(kTowerAt + "encoder.layers.0.mlp.fc1.weight", 0));
  tell(found, "patch_size", patch);
  const double grid = rows && *rows > 1 ? std::round(std::sqrt(static_cast<double>(*rows - 1))) : 0;
  if (grid > 0 && patch.value_or(0) > 0) found["image_size"] = grid * static_cast<double>(*patch);
  return found;
}

Values Detected::language() const {
  Values found;
  auto width = size(kLanguageAt + "embed_tokens.weight", 1);
  if (!width.value_or(0)) width = size("model.latent_queries", 2);
  if (!width.value_or(0)) width = size("model.multi_modal_projector.3.weight", 0);
  tell(found, "vocab_size", size(kLanguageAt + "embed_tokens.weight", 0));
  tell(found, "width", width);
  tell(found, "depth", count(kLanguageAt + "layers."));
  tell(found, "mlp_width", size(kLanguageAt + "layers.0.mlp.gate_proj.weight", 0));
  return found;
}

Values Detected::dit() const {
  Values found;
  const auto width = size(kDitAt + "patch_embed.proj.weight", 0),
             inner = size(kDitAt + "transformer_blocks.0.ff.conv_point.weight", 1);
  tell(found, "depth", count(kDitAt + "transformer_blocks."));
  if (width.value_or(0) > 0 && *width % 32 == 0) {
    found["heads"] = static_cast<double>(*width / 32);
    found["head_dim"] = 32;
  }
  tell(found, "caption_width", size(kDitAt + "caption_projection.linear_1.weight", 1));
  if (inner.value_or(0) > 0 && width.value_or(0) > 0) {  // the quotient may fall one short of giving `inner` back
    const double wide = static_cast<double>(*width), ratio = static_cast<double>(*inner) / wide;
    found["mlp_ratio"] =
        std::floor(ratio * wide) == static_cast<double>(*inner) ? ratio : std::nextafter(ratio, HUGE_VAL);
  }
  tell(found, "in_channels", size(kDitAt + "patch_embed.proj.weight", 1));
  tell(found, "out_channels", size(kDitAt + "proj_out.weight", 0));
  tell(found, "patch_size", size(kDitAt + "patch_embed.proj.weight", 2));
  return found;
}

Values Detected::router() const {
  Values found;
  tell(found, "picks", size("model.dynamic_router.router.2.weight", 0));
  return found;
}

Values Detected::streams() const {
  bool any = false;
  for (auto place = shapes_.lower_bound(kCoderAt); place != shapes_.end() && place->first.starts_with(kCoderAt);
       ++place)
    any = any || !place->first.starts_with(kDecoderAt);
  Values found;
  if (!any) return found;
  const bool dual = has(kPixelAt);
  const std::string stream = dual ? kCoderAt + "semantic_" : kCoderAt;
  found["dual"] = dual;
  tell(found, "blocks", count(stream + "down_blocks."));
  tell(found, "latent_channels", size(stream + "down_mlp.3.weight", 0));
  if (dual) {
    tell(found, "pixel_depth", count(kPixelAt + "layers."));
    tell(found, "pixel_mlp_width", size(kPixelAt + "layers.0.linear1.weight", 0));
  }
  return found;
}

std::optional<DecoderShape> Detected::decoder() const {
  const int64_t stages = std::min<int64_t>(count(kDecoderAt + "up_blocks.").value_or(0), 64);
  if (!stages) return {};
  DecoderShape found;
  found.head_dim = 0;
  for (int64_t stage = 0; stage < stages; ++stage) {
    const std::string up = kDecoderAt + "up_blocks." + std::to_string(stage) + ".";
    const int64_t first = stage + 1 < stages;
    const std::string block = up + std::to_string(first) + ".";
    const auto width = size(block + "attn.to_q.weight", 0);
    found.depths.push_back(count(up).value_or(0) - first);
    found.attention.push_back(width.has_value());
    found.channels.push_back(width ? *width : size(block + "conv1.weight", 0).value_or(0));
    std::vector<int64_t> kernels;
    const int64_t branches = std::min<int64_t>(count(block + "attn.to_qkv_multiscale.").value_or(0), 64);
    for (int64_t i = 0; i < branches; ++i)
      kernels.push_back(size(block + "attn.to_qkv_multiscale." + std::to_string(i) + ".proj_in.weight", 2).value_or(0));
    if (branches) found.head_dim = size(block + "attn.to_qkv_multiscale.0.proj_out.weight", 1).value_or(0);
    found.scales.push_back(std::move(kernels));
  }
  found.latent_channels = size(kDecoderAt + "conv_in.weight", 1).value_or(0);
  return found;
}

}  // namespace spar::c_api
