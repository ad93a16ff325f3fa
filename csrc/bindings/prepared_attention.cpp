// Softmax attention for benchmarks: over keys of the same call, and over keys that are kept packed.
#include <cmath>
#include <memory>

#include "model/keyvalues.h"
#include "prepared.h"

namespace spar::bindings {
namespace {

using namespace cpu;

float scale_of(int64_t dim) { return 1.0f / std::sqrt(static_cast<float>(dim)); }

int64_t kv_heads_of(const Setup& setup, int64_t heads) {
  const int64_t kv_heads = setup.size("kv_heads");
  if (heads % kv_heads) setup.fail("heads=" + std::to_string(heads) + " is not a multiple of kv_heads=" + std::to_string(kv_heads));
  return kv_heads;
}

// softmax(query key^T / sqrt(head_dim)) value, all [1, heads or kv_heads, tokens, head_dim] and new in every call, which
// packs keys and values first; causal=1: a token sees itself and those before it.
std::function<Slot()> attention(Prepared& p, const Setup& setup) {
  p.refuse_quantized(setup);
  const int64_t heads = setup.size("heads"), kv_heads = kv_heads_of(setup, heads), tokens = setup.size("tokens"),
                dim = setup.size("head_dim"), causal = setup.size("causal", 0);
  if (causal > 1) setup.fail("causal=" + std::to_string(causal) + "; it must be 0 or 1");
  const auto store = std::make_shared<KeyValueStore>(p.activations, 1, 1, kv_heads, dim, tokens);
  return [=, &p] {
    const Buffer q = p.heads(1, heads, tokens, dim), k = p.heads(1, kv_heads, tokens, dim),
                 v = p.heads(1, kv_heads, tokens, dim), out = p.heads(1, heads, tokens, dim);
    Attention core;
    core.q = q.view;
    core.out = out.view;
    core.tokens = core.keys = tokens;
    core.heads = heads;
    core.kv_heads = kv_heads;
    core.causal = causal ? 0 : -1;
    core.scale = scale_of(dim);
    Slot slot{{{"query", q}, {"key", k}, {"value", v}}, out, {}};
    slot.call = [=, k = k.view, v = v.view](Run& run) {
      run.each(kv_heads, [&](int64_t head, int) { store->put(0, 0, head, k, v, 0, tokens); });
      const KeyValues kv = store->at(0, 0);
      Attention task = core;
      task.kv = &kv;
      run.attention(task);
    };
    return slot;
  };
}

// The same over keys and values [batch, kv_heads, keys, head_dim] that were packed before: the condition of the DiT, and
// with one token the cache of the language model.
std::function<Slot()> cross_attention(Prepared& p, const Setup& setup) {
  p.refuse_quantized(setup);
  const int64_t batch = setup.size("batch"), heads = setup.size("heads"), kv_heads = kv_heads_of(setup, heads),
                tokens = setup.size("tokens"), keys = setup.size("keys"), dim = setup.size("head_dim");
  const auto store = std::make_shared<KeyValueStore>(p.activations, 1, batch, kv_heads, dim, keys);
  store->write(keys, setup.weight("keys", {batch, kv_heads, keys, dim}), setup.weight("values", {batch, kv_heads, keys, dim}));
  return [=, &p] {
    const Buffer q = p.heads(batch, heads, tokens, dim), out = p.heads(batch, heads, tokens, dim);
    Slot slot{{{"query", q}}, out, {}};
    slot.call = [=, q = q.view, out = out.view](Run& run) {
      for (int64_t b = 0; b < batch; ++b) {
        const KeyValues kv = store->at(0, b);
        Attention core;
        core.q = q.rows(b * tokens);
        core.out = out.rows(b * tokens);
        core.kv = &kv;
        core.tokens = tokens;
        core.heads = heads;
        core.kv_heads = kv_heads;
        core.keys = keys;
        core.scale = scale_of(dim);
        join_one_token(core, dim);  // as in decoding
        run.attention(core);
      }
    };
    return slot;
  };
}

const Preparation attentions[] = {{"attention", attention}, {"cross_attention", cross_attention}};

}  // namespace
}  // namespace spar::bindings
