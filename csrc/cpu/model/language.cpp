#include "model/language.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "engine/error.h"

namespace spar::cpu {

Language::Language(const Config& config, Loader& load)
    : model_(config, load, "model.language_model.", config.whole("language.depth"), load.text()),
      levels_(config.list("levels")) {}

void Language::run(Run& run, const Inputs& inputs, Outputs& outputs) const {
  const Input &embeds = inputs.at("inputs_embeds"), &past_keys = inputs.at("past_keys"), &wanted = inputs.at("rows");
  const int64_t batch = embeds.shape[0], tokens = embeds.shape[1], width = model_.width(), depth = model_.depth();
  const int64_t past = past_keys.cache ? past_keys.cached : past_keys.shape[3];
  std::vector<int64_t> rows(wanted.whole, wanted.whole + wanted.shape[0]);
  for (const int64_t row : rows)
    if (row < 0 || row >= tokens)
      throw InputError("language: `rows` has " + std::to_string(row) + ", but there are " + std::to_string(tokens) + " tokens");
  const int64_t count = static_cast<int64_t>(rows.size());
  bool all = count == tokens;
  for (int64_t i = 0; all && i < count; ++i) all = rows[static_cast<size_t>(i)] == i;

  std::shared_ptr<Cache> cache = past_keys.cache;
  if (!cache && past > 0) {
    cache = std::make_shared<Cache>(run.activations, depth, batch, model_.kv_heads(), model_.head_dim(), past + tokens);
    cache->store.write(past, past_keys.f32, inputs.at("past_values").f32);
    cache->filled.store(past);
  }
  cache = extend(cache, run.activations, depth, batch, model_.kv_heads(), model_.head_dim(), past, tokens);

  float* levels = outputs.make("hidden_levels", {static_cast<int64_t>(levels_.size()), batch, count, width});
  const auto keep = [&](int64_t level, const View& x, bool narrowed) {
    run.tap("llm.hidden_" + std::to_string(level), x, width, {batch, narrowed ? count : tokens, width});
    for (size_t i = 0; i < levels_.size(); ++i) {
      if (levels_[i] != level) continue;
      for (int64_t r = 0; r < batch * count; ++r) {
        const int64_t from = narrowed ? r : r / count * tokens + rows[static_cast<size_t>(r % count)];
        std::memcpy(levels + (static_cast<int64_t>(i) * batch * count + r) * width, x.row<float>(from),
                    static_cast<size_t>(width) * 4);
      }
    }
  };
  View x = run.f32(batch * tokens, width);
  run.convert({const_cast<float*>(embeds.f32), Type::f32, width}, x, batch * tokens, width);
  const auto rotation = model_.rotation(past, tokens);
  keep(0, x, false);
  for (int64_t i = 0; i < depth; ++i) {
    run.check_cancelled();
    const bool last = i + 1 == depth;
    model_.layer(run, i, x, batch, tokens, rotation, cache->store, i, past, true, last && !all ? &rows : nullptr);
    if (!last) keep(i + 1, x, false);
  }
  model_.norm(run, x, batch * count, x);
  keep(depth, x, true);
  outputs.cache = std::move(cache);
  outputs.cached = past + tokens;
}

void LmHead::run(Run& run, const Inputs& inputs, Outputs& outputs) const {
  const Input& states = inputs.at("hidden_states");
  const int64_t batch = states.shape[0];
  float* logits = outputs.make("logits", {batch, head_.n});
  run.linear(head_, {const_cast<float*>(states.f32), Type::f32, states.shape[1]}, batch, View{logits, Type::f32, head_.n});
  run.tap("logits", {logits, Type::f32, head_.n}, head_.n, {batch, head_.n});
}

Condition::Condition(const Config& config, Loader& load) {
  if (config.whole("router.picks")) {
    const std::string at = "model.dynamic_router.";
    routing_.emplace();
    routing_->first = load.linear(at + "router.0", load.fine());
    routing_->second = load.linear(at + "router.2", load.fine());
    routing_->out = load.linear(at + "proj", load.fine());
    routing_->scales = load.vector(at + "layer_scales");
    routing_->norm_weight = load.vector(at + "out_norm.weight");
    routing_->norm_bias = load.vector(at + "out_norm.bias");
    routing_->temperature = static_cast<float>(config.real("router.temperature"));
  }
  connector_ = Qwen2(config, load, "model.llm_connector.", config.whole("connector_depth"), load.large());
  projector_ = load.linear("model.projector", load.fine());
}

void Condition::run(Run& run, const Inputs& inputs, Outputs& outputs) const {
  const Input &levels = inputs.at("hidden_levels"), &image = inputs.at("image_features"), &order = inputs.at("order");
  const int64_t batch = levels.shape[1], rows = levels.shape[2], images = image.shape[1], tokens = order.shape[0];
  const int64_t width = connector_.width();
  View routed{const_cast<float*>(levels.f32), Type::f32, width};
  if (routing_) {
    const View all = routed;
    routed = run.f32(batch * rows, width);
    routing_->run(run, all, batch, rows, routed);
  }
  View x = run.f32(batch * tokens, width);
  for (int64_t r = 0; r < batch * tokens; ++r) {
    const int64_t from = order.whole[r % tokens], b = r / tokens;
    if (from < 0 || from >= rows + images)
      throw InputError("condition: `order` has " + std::to_string(from) + ", but there are " +
                       std::to_string(rows + images) + " rows");
    const float* row = from < rows ? routed.row<float>(b * rows + from) : image.f32 + (b * images + from - rows) * width;
    std::memcpy(x.row<float>(r), row, static_cast<size_t>(width) * 4);
  }
  run.tap("connector.in", x, width, {batch, tokens, width});
  const KeyValueStore store(run.activations, 1, batch, connector_.kv_heads(), connector_.head_dim(), tokens);
  const auto rotation = connector_.rotation(0, tokens);
  for (int64_t i = 0; i < connector_.depth(); ++i) {
    run.check_cancelled();
    run.tap("connector.hidden_" + std::to_string(i), x, width, {batch, tokens, width});
    connector_.layer(run, i, x, batch, tokens, rotation, store, 0, 0, false, nullptr);
  }
  connector_.norm(run, x, batch * tokens, x);
  run.tap("connector.hidden_" + std::to_string(connector_.depth()), x, width, {batch, tokens, width});
  float* caption = outputs.make("caption", {batch, tokens, projector_.n});
  run.linear(projector_, x, batch * tokens, View{caption, Type::f32, projector_.n});
  run.tap("projector.out", {caption, Type::f32, projector_.n}, projector_.n, {batch, tokens, projector_.n});
}

}  // namespace spar::cpu
