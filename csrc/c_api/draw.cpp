#include "c_api/draw.h"

#include <algorithm>
#include <numeric>

#include "c_api/schedule.h"

namespace spar::c_api {
namespace {

// The DiT's caption of one prompt, [tokens, caption_width], and its tokens.
struct Caption {
  std::vector<float> rows;
  int64_t tokens;
};

// Levels [levels, a, width] and [levels, b, width] as [levels, a + b, width].
std::vector<float> joined(const std::vector<float>& first, const std::vector<float>& second, size_t levels) {
  std::vector<float> made;
  made.reserve(first.size() + second.size());
  const auto part = [&](const std::vector<float>& from, size_t level) {
    const auto size = static_cast<std::ptrdiff_t>(from.size() / levels),
               begin = static_cast<std::ptrdiff_t>(level) * size;
    made.insert(made.end(), from.begin() + begin, from.begin() + begin + size);
  };
  for (size_t level = 0; level < levels; ++level) {
    part(first, level);
    part(second, level);
  }
  return made;
}

Caption caption(Engine& engine, const Prompt& prompt, const std::vector<float>& features, Flag cancel) {
  const ModelConfig& config = engine.config();
  const int64_t width = config.language.whole("width");
  std::vector<float> embeds = engine.embed(prompt.ids, features);
  embeds.insert(embeds.end(), engine.queries().begin(), engine.queries().end());
  const int64_t tokens = static_cast<int64_t>(embeds.size()) / width, shared = static_cast<int64_t>(prompt.shared);
  // Rows of image tokens come from the visual tokens, all others from the routing (E12).
  std::vector<int64_t> rows, order;
  const auto is_image = [&](size_t i) { return i < prompt.ids.size() && prompt.ids[i] == config.image_token_id; };
  for (size_t i = 0; i < static_cast<size_t>(tokens); ++i)
    if (!is_image(i)) rows.push_back(static_cast<int64_t>(i));
  const int64_t plain = static_cast<int64_t>(rows.size());
  int64_t next = 0, image = plain;
  for (size_t i = 0; i < static_cast<size_t>(tokens); ++i) order.push_back(is_image(i) ? image++ : next++);

  // The text is run in the same two pieces whatever else is known, so that the same products are taken in every
  // request.
  TextState state;
  std::vector<float> levels;
  if (shared) {
    std::vector<int64_t> leading(prompt.shared);
    std::iota(leading.begin(), leading.end(), int64_t{0});
    levels = engine.read(state, embeds.data(), shared, leading, cancel);
  }
  std::vector<int64_t> rest(rows.begin() + shared, rows.end());
  for (int64_t& row : rest) row -= shared;
  const auto more = engine.read(state, embeds.data() + shared * width, tokens - shared, rest, cancel);
  levels = shared ? joined(levels, more, config.levels().size()) : more;
  const int64_t images = static_cast<int64_t>(features.size()) / width;
  const cpu::Outputs outputs = engine.runner().run(
      "condition",
      {{"hidden_levels", floats(levels, {static_cast<int64_t>(config.levels().size()), 1, plain, width})},
       {"image_features", floats(features, {1, images, width})},
       {"order", wholes(order)}},
      cancel);
  return {taken(outputs, "caption"), tokens};
}

// Cross-attention keys and values for all guidance branches (E1), and the valid tokens of each.
struct Context {
  std::shared_ptr<const cpu::CrossContext> cross;
  std::vector<int64_t> lengths;
};

Context context(Engine& engine, const std::vector<Caption>& captions, Flag cancel) {
  const int64_t width = engine.config().dit.whole("caption_width"), branches = static_cast<int64_t>(captions.size());
  Context made;
  for (const Caption& one : captions) made.lengths.push_back(one.tokens);
  const int64_t longest = *std::max_element(made.lengths.begin(), made.lengths.end());
  std::vector<float> stacked(static_cast<size_t>(branches * longest * width), 0.0f);
  for (size_t i = 0; i < captions.size(); ++i)
    std::copy(captions[i].rows.begin(), captions[i].rows.end(),
              stacked.begin() + static_cast<std::ptrdiff_t>(i) * longest * width);
  made.cross = engine.runner().run("context", {{"caption", floats(stacked, {branches, longest, width})}}, cancel).cross;
  return made;
}

// From noise to the tokenizer's latent.
std::vector<float> denoise(Engine& engine, const Drawing& d, const Context& where, int64_t image) {
  const ModelConfig& config = engine.config();
  const int64_t channels = config.dit.whole("in_channels"), width = config.dit_width(),
                depth = config.dit.whole("depth");
  const Schedule plan = schedule(config.sampler, d.steps);
  const cpu::Outputs tables =
      engine.runner().run("modulation", {{"timesteps", floats(plan.timesteps, {d.steps})}}, d.cancel);
  const float *modulation = tables.arrays.at("modulation").data.get(),
              *final = tables.arrays.at("final_modulation").data.get();
  const std::vector<int64_t> branches(where.lengths.size(), 0);
  std::vector<float> latent = d.noises[static_cast<size_t>(image)], previous;
  for (int64_t step = 0; step < d.steps; ++step) {
    cpu::Inputs inputs{{"latent", floats(latent, {1, channels, d.height, d.width})},
                       {"modulation", floats(modulation + step * depth * 6 * width, {1, depth, 6, width})},
                       {"final_modulation", floats(final + step * 2 * width, {1, 2, width})},
                       {"branches", wholes(branches)},
                       {"lengths", wholes(where.lengths)}};
    inputs["cross_keys"].crosses = inputs["cross_values"].crosses = {where.cross};
    std::vector<float> velocity = taken(engine.runner().run("dit", inputs, d.cancel), "velocity");
    if (branches.size() == 2) {  // unconditional + scale * (conditional - unconditional)
      for (size_t i = 0; i < latent.size(); ++i)
        velocity[i] = velocity[i] + d.guidance_scale * (velocity[latent.size() + i] - velocity[i]);
    }
    advance(plan, static_cast<size_t>(step), latent, velocity.data(), previous);
    if (d.on_step) d.on_step(image, step + 1, d.steps);
  }
  const float scale = static_cast<float>(config.latent_scale);
  for (float& value : latent) value /= scale;
  return latent;
}

}  // namespace

std::vector<Bytes> draw(Engine& engine, const Drawing& d) {
  std::vector<float> features;
  if (!d.pixels.empty()) features = engine.look({d.pixels}, engine.config().vision.whole("image_size"), d.cancel);
  std::vector<Caption> captions;
  if (d.negative) captions.push_back(caption(engine, *d.negative, features, d.cancel));
  captions.push_back(caption(engine, d.positive, features, d.cancel));
  const Context where = context(engine, captions, d.cancel);
  const int64_t scale = engine.config().decoder.upscale();
  std::vector<Bytes> pictures;
  for (size_t image = 0; image < d.noises.size(); ++image) {
    const auto latent = denoise(engine, d, where, static_cast<int64_t>(image));
    const auto decoded = engine.decode(latent, d.height, d.width, d.cancel);
    pictures.push_back(generated_picture(decoded, d.height * scale, d.width * scale, d.full));
  }
  return pictures;
}

Bytes reconstruct(Engine& engine, const Bytes& picture, int64_t side, Flag cancel) {
  const ModelConfig& config = engine.config();
  const int64_t cells = side / (2 * config.vision.whole("patch_size")), tokens = cells * cells,
                width = config.language.whole("width");
  const auto features = engine.look({reconstruct_pixels(picture, side)}, side, cancel);
  const auto rows = taken(engine.runner().run("streams", {{"features", floats(features, {1, tokens, width})}}, cancel),
                          "latent_tokens");
  const size_t count = static_cast<size_t>(tokens), channels = rows.size() / count;
  std::vector<float> latent(rows.size());
  for (size_t token = 0; token < count; ++token)
    for (size_t channel = 0; channel < channels; ++channel)
      latent[channel * count + token] = rows[token * channels + channel];
  const auto decoded = engine.decode(latent, cells, cells, cancel);
  return reconstructed_picture(decoded, cells * config.decoder.upscale(), cells * config.decoder.upscale());
}

}  // namespace spar::c_api
