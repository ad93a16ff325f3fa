// spar.h: pictures.
#include <cmath>
#include <cstdlib>

#include "c_api/boundary.h"
#include "c_api/draw.h"
#include "c_api/noise.h"

using namespace spar::c_api;

namespace {

using Options = spar_draw_options;

// Rows and columns of the latent: sides from half to twice the training size (engine/requests.py).
void set_size(const Options& o, const ModelConfig& config, Drawing& to) {
  const int64_t trained = config.dit.whole("sample_size"), cell = config.decoder.upscale();
  to.height = to.width = trained;
  to.full = in_range("full_size", o.full_size, 0, 1) != 0;
  if (o.height == 0 && o.width == 0) return;
  for (const auto& [name, side] : {std::pair{"height", o.height}, std::pair{"width", o.width}}) {
    in_range(name, side, std::max<int64_t>(1, trained / 2) * cell, 2 * trained * cell);
    if (side % cell)
      throw spar::InputError(std::string(name) + "=" + std::to_string(side) + " is not a multiple of " +
                             std::to_string(cell) + "; use " + std::to_string(side / cell * cell) + " or " +
                             std::to_string(side / cell * cell + cell));
  }
  to.height = o.height / cell;
  to.width = o.width / cell;
  to.full = true;
}

void set_noises(const Options& o, const ModelConfig& config, Drawing& to) {
  const auto images = static_cast<size_t>(in_range("images", o.images, 1, 64));
  const size_t size = static_cast<size_t>(config.dit.whole("in_channels") * to.height * to.width);
  if (!o.latents) {
    if (o.latents_count)
      throw spar::InputError("latents is NULL, but latents_count=" + std::to_string(o.latents_count) +
                             "; pass both or neither");
    for (size_t image = 0; image < images; ++image)
      to.noises.push_back(noise(o.seed, static_cast<uint32_t>(image), static_cast<int64_t>(size)));
    return;
  }
  if (o.latents_count != images * size)
    throw spar::InputError("latents_count=" + std::to_string(o.latents_count) + ", but " + std::to_string(images) +
                           " pictures of " + std::to_string(config.dit.whole("in_channels")) + " x " +
                           std::to_string(to.height) + " x " + std::to_string(to.width) + " need " +
                           std::to_string(images * size));
  for (size_t i = 0; i < o.latents_count; ++i)
    if (!std::isfinite(o.latents[i]))
      throw spar::InputError("latents[" + std::to_string(i) + "] is not finite; pass finite numbers");
  for (size_t image = 0; image < images; ++image)
    to.noises.emplace_back(o.latents + image * size, o.latents + (image + 1) * size);
}

Drawing drawing_of(const Options& o, const ModelConfig& config) {
  Drawing made;
  made.steps = in_range("steps", o.steps, 1, std::min<int64_t>(1000, config.sampler.train_steps));
  made.guidance_scale = o.guidance_scale ? *o.guidance_scale : static_cast<float>(config.guidance_scale);
  if (!std::isfinite(made.guidance_scale))
    throw spar::InputError("guidance_scale=" + std::to_string(made.guidance_scale) +
                           " is not a finite number; the usual value is 4.5");
  if (o.negative_prompt && made.guidance_scale == 1)
    throw spar::InputError("negative_prompt has no effect at guidance_scale=1; leave it out or raise guidance_scale");
  set_size(o, config, made);
  set_noises(o, config, made);
  made.cancel = flag_of(o.cancel);
  if (o.on_step)
    made.on_step = [call = o.on_step, user = o.user](int64_t image, int64_t step, int64_t total) {
      if (call(user, static_cast<int32_t>(image), static_cast<int32_t>(step), static_cast<int32_t>(total)))
        throw Cancelled{};
    };
  return made;
}

// Both tasks that begin with a picture.
void edit(Engine& engine, const spar_picture* picture, const std::string& instruction, const Options& o,
          spar_images& images) {
  Drawing drawing = drawing_of(o, engine.config());
  const std::string negative = o.negative_prompt ? o.negative_prompt : "";
  const Bytes source = picture_of(picture);
  drawing.positive = engine.prompts().edit(&instruction, "instruction");
  if (drawing.guidance_scale != 1)
    drawing.negative = engine.prompts().edit(o.negative_prompt ? &negative : nullptr, "negative_prompt");
  drawing.pixels = edit_pixels(source, engine.config().vision.whole("image_size"));
  give(draw(engine, drawing), images);
}

}  // namespace

void spar_draw_options_init(spar_draw_options* options) {
  if (!options) return;
  *options = {};
  options->size = sizeof *options;
  options->steps = 20;
  options->images = 1;
}

void spar_images_free(spar_images* images) {
  if (!images) return;
  std::free(images->pixels);
  *images = {};
}

spar_status spar_generate(spar_engine* engine, const char* prompt, const spar_draw_options* options,
                          spar_images* images) {
  if (images) *images = {};
  return guarded([&] {
    spar_images& to = required(images, "images");
    Engine& used = required(engine, "engine").engine;
    const Options o = options_of(options, spar_draw_options_init, "spar_draw_options");
    const std::string text = &required(prompt, "prompt"), negative = o.negative_prompt ? o.negative_prompt : "";
    Drawing drawing = drawing_of(o, used.config());
    drawing.positive = used.prompts().generation(&text, "prompt");
    if (drawing.guidance_scale != 1)
      drawing.negative = used.prompts().generation(o.negative_prompt ? &negative : nullptr, "negative_prompt");
    give(draw(used, drawing), to);
  });
}

spar_status spar_edit(spar_engine* engine, const spar_picture* picture, const char* instruction,
                      const spar_draw_options* options, spar_images* images) {
  if (images) *images = {};
  return guarded([&] {
    spar_images& to = required(images, "images");
    Engine& used = required(engine, "engine").engine;
    const Options o = options_of(options, spar_draw_options_init, "spar_draw_options");
    edit(used, picture, &required(instruction, "instruction"), o, to);
  });
}

spar_status spar_segment(spar_engine* engine, const spar_picture* picture, const char* instruction,
                         const spar_draw_options* options, spar_images* map) {
  if (map) *map = {};
  return guarded([&] {
    spar_images& to = required(map, "map");
    Engine& used = required(engine, "engine").engine;
    const Options o = options_of(options, spar_draw_options_init, "spar_draw_options");
    edit(used, picture, instruction ? instruction : std::string(kSegmentInstruction), o, to);
  });
}

spar_status spar_reconstruct(spar_engine* engine, const spar_picture* picture, int32_t side, spar_cancel* cancel,
                             spar_images* images) {
  if (images) *images = {};
  return guarded([&] {
    spar_images& to = required(images, "images");
    Engine& used = required(engine, "engine").engine;
    const Values& vision = used.config().vision;
    const int64_t multiple = 2 * vision.whole("patch_size"), trained = vision.whole("image_size");
    const int64_t wanted = side ? in_range("side", side, multiple, 4 * trained) : trained;
    if (wanted % multiple)
      throw spar::InputError("side=" + std::to_string(side) + " is not a multiple of " + std::to_string(multiple) +
                             "; use " + std::to_string(wanted / multiple * multiple) + " or " +
                             std::to_string(wanted / multiple * multiple + multiple));
    give({reconstruct(used, picture_of(picture), wanted, flag_of(cancel))}, to);
  });
}
