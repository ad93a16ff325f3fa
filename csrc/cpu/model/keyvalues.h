// Keys and values that outlive a call: the cross-attention context of a picture, the cache of a text.
#pragma once

#include <atomic>
#include <memory>

#include "core/attention.h"
#include "core/memory.h"

namespace spar::cpu {

// Writes `count` rows of f32 or of kv.type as tokens first .. of one head, which is in columns head * dim ..
void pack_tokens(const KeyValues& kv, int64_t head, const View& keys, const View& values, int64_t first, int64_t count);

// Packed keys and values of [outer, inner] groups of heads: blocks and branches, or layers and batch.
class KeyValueStore {
 public:
  KeyValueStore(Type type, int64_t outer, int64_t inner, int64_t heads, int64_t dim, int64_t tokens);

  KeyValues at(int64_t outer, int64_t inner) const;
  Type type() const { return type_; }
  int64_t outer() const { return outer_; }
  int64_t inner() const { return inner_; }
  int64_t heads() const { return heads_; }
  int64_t dim() const { return dim_; }
  int64_t capacity() const { return capacity_; }
  size_t bytes() const { return memory_.size(); }

  // Writes rows of f32 or of this store's type, head h in columns h * dim .., as tokens first ..
  void put(int64_t outer, int64_t inner, int64_t head, const View& keys, const View& values, int64_t first,
           int64_t count) const;
  // The first `tokens` of all as f32 [outer, inner, heads, tokens, dim]; either may be null.
  void read(int64_t tokens, float* keys, float* values) const;
  // Fills the first `tokens` from arrays of that form.
  void write(int64_t tokens, const float* keys, const float* values) const;
  // Copies the first `tokens` of another store of the same groups.
  void copy(const KeyValueStore& from, int64_t tokens) const;

 private:
  Type type_;
  int64_t outer_, inner_, heads_, dim_, capacity_, key_head_, value_head_;
  Reserve memory_;
};

struct CrossContext {
  CrossContext(Type type, int64_t blocks, int64_t branches, int64_t heads, int64_t dim, int64_t tokens)
      : store(type, blocks, branches, heads, dim, tokens), tokens(tokens) {}
  KeyValueStore store;
  int64_t tokens;
};

// A growing text. A value of `filled` tokens may grow in place; one that was already continued is copied.
struct Cache {
  Cache(Type type, int64_t layers, int64_t batch, int64_t heads, int64_t dim, int64_t tokens)
      : store(type, layers, batch, heads, dim, tokens) {}
  KeyValueStore store;
  std::atomic<int64_t> filled{0};
};

// A cache with room for `tokens` after the first `past` of `cache` (null: none), claimed for this caller alone.
std::shared_ptr<Cache> extend(const std::shared_ptr<Cache>& cache, Type type, int64_t layers, int64_t batch,
                              int64_t heads, int64_t dim, int64_t past, int64_t tokens);

}  // namespace spar::cpu
