#include "model/keyvalues.h"

#include <algorithm>
#include <cstring>

namespace spar::cpu {
namespace {

size_t bytes_of(int64_t groups, int64_t key_head, int64_t value_head) {
  return static_cast<size_t>(std::max<int64_t>(1, groups * (key_head + value_head)));
}

template <class T>
T* key_at(const KeyValues& kv, int64_t head, int64_t token, int64_t d) {
  constexpr int64_t lane = 4 / sizeof(T);
  char* panel = kv.keys + head * kv.key_head + token / kPanel * ceil_div(kv.dim, lane) * kRowBytes;
  return reinterpret_cast<T*>(panel + d / lane * kRowBytes + token % kPanel * 4) + d % lane;
}

template <class T>
T* value_at(const KeyValues& kv, int64_t head, int64_t token, int64_t d) {
  constexpr int64_t lane = 4 / sizeof(T);
  char* panel = kv.values + head * kv.value_head + d / kPanel * (kv.capacity / lane) * kRowBytes;
  return reinterpret_cast<T*>(panel + token / lane * kRowBytes + d % kPanel * 4) + token % lane;
}

SPAR_INLINE float as_float(float x) { return x; }
SPAR_INLINE float as_float(bf16 x) { return to_f32(x); }
template <class T>
SPAR_INLINE T from_float(float x) {
  if constexpr (sizeof(T) == 4)
    return x;
  else
    return to_bf16(x);
}
// The weight of a token that is not there is 0, which must not meet what the memory held before.
template <class T>
void clear_rest(const KeyValues& kv, int64_t head, int64_t tokens) {
  for (int64_t t = tokens; t % (4 / sizeof(T)); ++t)
    for (int64_t d = 0; d < kv.dim; ++d) *value_at<T>(kv, head, t, d) = T{};
}

template <class T, class From>
void put_as(const KeyValues& kv, int64_t head, const View& keys, const View& values, int64_t first, int64_t count) {
  constexpr int64_t lane = 4 / sizeof(T);
  const int64_t left = head * kv.dim;
  for (int64_t t = 0; t < count; ++t) {
    const From* key = keys.row<From>(t) + left;
    char* to = reinterpret_cast<char*>(key_at<T>(kv, head, first + t, 0));
    for (int64_t d = 0; d < kv.dim; d += lane, to += kRowBytes) {
      T values_of_lane[lane] = {};
      for (int64_t i = 0; i < lane && d + i < kv.dim; ++i) values_of_lane[i] = from_float<T>(as_float(key[d + i]));
      std::memcpy(to, values_of_lane, 4);
    }
    const From* value = values.row<From>(t) + left;
    for (int64_t p = 0; p < kv.dim; p += kPanel) {
      T* line = value_at<T>(kv, head, first + t, p);
      const int64_t n = std::min(kPanel, kv.dim - p);
      for (int64_t d = 0; d < n; ++d) line[d * lane] = from_float<T>(as_float(value[p + d]));
    }
  }
  clear_rest<T>(kv, head, first + count);
}


// The same from rows of the stored type: lanes are copied, and the two bf16 of a lane of values are written together.
template <class T>
void put_same(const KeyValues& kv, int64_t head, const View& keys, const View& values, int64_t first, int64_t count) {
  constexpr int64_t lane = 4 / sizeof(T);
  const int64_t left = head * kv.dim, whole = kv.dim / lane * lane;
  for (int64_t t = 0; t < count; ++t) {
    const T* key = keys.row<T>(t) + left;
    char* to = reinterpret_cast<char*>(key_at<T>(kv, head, first + t, 0));
    for (int64_t d = 0; d < whole; d += lane, to += kRowBytes) std::memcpy(to, key + d, 4);
    if (whole == kv.dim) continue;
    const T last[2] = {key[whole], T{}};
    std::memcpy(to, last, 4);
  }
  for (int64_t t = 0; t < count;) {
    const bool pair = lane == 2 && (first + t) % 2 == 0 && t + 1 < count;
    for (int64_t p = 0; p < kv.dim; p += kPanel) {
      T* line = value_at<T>(kv, head, first + t, p);
      const T* value = values.row<T>(t) + left + p;
      const int64_t n = std::min(kPanel, kv.dim - p);
      if (pair) {
        const T* next = values.row<T>(t + 1) + left + p;
        for (int64_t d = 0; d < n; ++d) line[2 * d] = value[d], line[2 * d + 1] = next[d];
      } else {
        for (int64_t d = 0; d < n; ++d) line[d * lane] = value[d];
      }
    }
    t += pair ? 2 : 1;
  }
  clear_rest<T>(kv, head, first + count);
}

}  // namespace

void pack_tokens(const KeyValues& kv, int64_t head, const View& keys, const View& values, int64_t first, int64_t count) {
  if (kv.type == Type::f32) return put_same<float>(kv, head, keys, values, first, count);
  keys.type == Type::f32 ? put_as<bf16, float>(kv, head, keys, values, first, count)
                         : put_same<bf16>(kv, head, keys, values, first, count);
}

KeyValueStore::KeyValueStore(Type type, int64_t outer, int64_t inner, int64_t heads, int64_t dim, int64_t tokens)
    : type_(type),
      outer_(outer),
      inner_(inner),
      heads_(heads),
      dim_(dim),
      capacity_(round_up(std::max<int64_t>(tokens, 1), kPanel)),
      key_head_(key_bytes(type, dim, capacity_)),
      value_head_(value_bytes(type, dim, capacity_)),
      memory_(bytes_of(outer * inner * heads, key_head_, value_head_)) {}

KeyValues KeyValueStore::at(int64_t outer, int64_t inner) const {
  KeyValues kv;
  kv.keys = memory_.data() + (outer * inner_ + inner) * heads_ * (key_head_ + value_head_);
  kv.values = kv.keys + heads_ * key_head_;
  kv.type = type_;
  kv.dim = dim_;
  kv.capacity = capacity_;
  kv.key_head = key_head_;
  kv.value_head = value_head_;
  return kv;
}

void KeyValueStore::put(int64_t outer, int64_t inner, int64_t head, const View& keys, const View& values,
                        int64_t first, int64_t count) const {
  pack_tokens(at(outer, inner), head, keys, values, first, count);
}

void KeyValueStore::read(int64_t tokens, float* keys, float* values) const {
  const auto all = [&](auto kind) {
    using T = decltype(kind);
    for (int64_t o = 0; o < outer_; ++o)
      for (int64_t i = 0; i < inner_; ++i) {
        const KeyValues kv = at(o, i);
        for (int64_t h = 0; h < heads_; ++h)
          for (int64_t t = 0; t < tokens; ++t)
            for (int64_t d = 0; d < dim_; ++d) {
              if (keys) *keys++ = as_float(*key_at<T>(kv, h, t, d));
              if (values) *values++ = as_float(*value_at<T>(kv, h, t, d));
            }
      }
  };
  type_ == Type::f32 ? all(float{}) : all(bf16{});
}

void KeyValueStore::write(int64_t tokens, const float* keys, const float* values) const {
  const int64_t group = tokens * dim_;
  for (int64_t o = 0; o < outer_; ++o)
    for (int64_t i = 0; i < inner_; ++i)
      for (int64_t h = 0; h < heads_; ++h) {
        const int64_t start = ((o * inner_ + i) * heads_ + h) * group - h * dim_;  // put skips h * dim columns
        put(o, i, h, {const_cast<float*>(keys) + start, Type::f32, dim_},
            {const_cast<float*>(values) + start, Type::f32, dim_}, 0, tokens);
      }
}

void KeyValueStore::copy(const KeyValueStore& from, int64_t tokens) const {
  // Whole panels as bytes; then token by token, since another call may be writing the tokens after them.
  const int64_t whole = tokens / kPanel * kPanel, lane = per_lane(type_);
  const int64_t key_used = whole / kPanel * ceil_div(dim_, lane) * kRowBytes, value_used = whole / lane * kRowBytes;
  const int64_t panel = capacity_ / lane * kRowBytes, from_panel = from.capacity_ / lane * kRowBytes;
  const auto rest = [&](auto kind, const KeyValues& to, const KeyValues& old, int64_t h) {
    using T = decltype(kind);
    for (int64_t t = whole; t < tokens; ++t)
      for (int64_t d = 0; d < dim_; ++d) {
        *key_at<T>(to, h, t, d) = *key_at<T>(old, h, t, d);
        *value_at<T>(to, h, t, d) = *value_at<T>(old, h, t, d);
      }
  };
  for (int64_t o = 0; o < outer_; ++o)
    for (int64_t i = 0; i < inner_; ++i) {
      const KeyValues to = at(o, i), old = from.at(o, i);
      for (int64_t h = 0; h < heads_; ++h) {
        std::memcpy(to.keys + h * key_head_, old.keys + h * from.key_head_, static_cast<size_t>(key_used));
        for (int64_t p = 0; p < ceil_div(dim_, kPanel); ++p)
          std::memcpy(to.values + h * value_head_ + p * panel, old.values + h * from.value_head_ + p * from_panel,
                      static_cast<size_t>(value_used));
        type_ == Type::f32 ? rest(float{}, to, old, h) : rest(bf16{}, to, old, h);
      }
    }
}

std::shared_ptr<Cache> extend(const std::shared_ptr<Cache>& cache, Type type, int64_t layers, int64_t batch,
                              int64_t heads, int64_t dim, int64_t past, int64_t tokens) {
  const int64_t total = past + tokens;
  if (cache) {
    int64_t expected = past;
    if (total <= cache->store.capacity() && cache->filled.compare_exchange_strong(expected, total)) return cache;
  }
  // Room to decode into: half as much again, so that growth costs little on average.
  auto grown = std::make_shared<Cache>(type, layers, batch, heads, dim, total + std::max<int64_t>(64, total / 2));
  if (cache) grown->store.copy(cache->store, past);
  grown->filled.store(total);
  return grown;
}

}  // namespace spar::cpu
