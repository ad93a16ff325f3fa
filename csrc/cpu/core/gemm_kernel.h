// The product on vector registers: 6 rows x 4 vectors of sums (AVX-512; AVX2 has half the registers and takes 2 vectors).
#pragma once

#include "core/epilogue.h"

namespace spar::cpu::ENGINE_ISA {

// One 32-bit lane of A against a vector of packed W: c + a . b over the values in the lane.
template <class T>
struct Dot;

#if defined(__AVX512F__)

constexpr int kTileVectors = 4, kTileRows = 6;
using Raw = __m512i;
inline Raw load_raw(const char* p) { return _mm512_loadu_si512(p); }
inline Raw broadcast(const void* p) {
  int32_t lane;
  std::memcpy(&lane, p, 4);
  return _mm512_set1_epi32(lane);
}
inline __m512 as_f32(Raw x) { return _mm512_castsi512_ps(x); }

template <>
struct Dot<float> {
  using Acc = float;
  static Raw step(Raw a, Raw b, Raw c) {
    return _mm512_castps_si512(_mm512_fmadd_ps(as_f32(a), as_f32(b), as_f32(c)));
  }
};
template <>
struct Dot<bf16> {
  using Acc = float;
  static Raw step(Raw a, Raw b, Raw c) {
#if defined(__AVX512BF16__)
    return _mm512_castps_si512(_mm512_dpbf16_ps(as_f32(c), (__m512bh)a, (__m512bh)b));
#else
    const __m512i high = _mm512_set1_epi32(static_cast<int>(0xffff0000u));
    const __m512 even =
        _mm512_fmadd_ps(as_f32(_mm512_slli_epi32(a, 16)), as_f32(_mm512_slli_epi32(b, 16)), as_f32(c));
    return _mm512_castps_si512(
        _mm512_fmadd_ps(as_f32(_mm512_and_si512(a, high)), as_f32(_mm512_and_si512(b, high)), even));
#endif
  }
};
template <>
struct Dot<uint8_t> {
  using Acc = int32_t;
  static Raw step(Raw a, Raw b, Raw c) {
#if defined(__AVX512VNNI__)
    return _mm512_dpbusd_epi32(c, a, b);
#else
    const __m512i low = _mm512_set1_epi16(0xff);
    const __m512i even =
        _mm512_madd_epi16(_mm512_and_si512(a, low), _mm512_srai_epi16(_mm512_slli_epi16(b, 8), 8));
    const __m512i odd = _mm512_madd_epi16(_mm512_srli_epi16(a, 8), _mm512_srai_epi16(b, 8));
    return _mm512_add_epi32(c, _mm512_add_epi32(even, odd));
#endif
  }
};
inline void store_raw(void* p, Raw x) { _mm512_storeu_si512(p, x); }
inline Raw zero_raw() { return _mm512_setzero_si512(); }
inline Raw add_f32(Raw x, Raw y) { return _mm512_castps_si512(_mm512_add_ps(as_f32(x), as_f32(y))); }

#elif defined(__AVX2__)

constexpr int kTileVectors = 2, kTileRows = 6;
using Raw = __m256i;
inline Raw load_raw(const char* p) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)); }
inline Raw broadcast(const void* p) {
  int32_t lane;
  std::memcpy(&lane, p, 4);
  return _mm256_set1_epi32(lane);
}
inline __m256 as_f32(Raw x) { return _mm256_castsi256_ps(x); }

template <>
struct Dot<float> {
  using Acc = float;
  static Raw step(Raw a, Raw b, Raw c) {
    return _mm256_castps_si256(_mm256_fmadd_ps(as_f32(a), as_f32(b), as_f32(c)));
  }
};
template <>
struct Dot<bf16> {
  using Acc = float;
  static Raw step(Raw a, Raw b, Raw c) {
    const __m256i high = _mm256_set1_epi32(static_cast<int>(0xffff0000u));
    const __m256 even =
        _mm256_fmadd_ps(as_f32(_mm256_slli_epi32(a, 16)), as_f32(_mm256_slli_epi32(b, 16)), as_f32(c));
    return _mm256_castps_si256(
        _mm256_fmadd_ps(as_f32(_mm256_and_si256(a, high)), as_f32(_mm256_and_si256(b, high)), even));
  }
};
template <>
struct Dot<uint8_t> {
  using Acc = int32_t;
  static Raw step(Raw a, Raw b, Raw c) {
    const __m256i low = _mm256_set1_epi16(0xff);
    const __m256i even =
        _mm256_madd_epi16(_mm256_and_si256(a, low), _mm256_srai_epi16(_mm256_slli_epi16(b, 8), 8));
    const __m256i odd = _mm256_madd_epi16(_mm256_srli_epi16(a, 8), _mm256_srai_epi16(b, 8));
    return _mm256_add_epi32(c, _mm256_add_epi32(even, odd));
  }
};
inline void store_raw(void* p, Raw x) { _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), x); }
inline Raw zero_raw() { return _mm256_setzero_si256(); }
inline Raw add_f32(Raw x, Raw y) { return _mm256_castps_si256(_mm256_add_ps(as_f32(x), as_f32(y))); }

#else

constexpr int kTileVectors = 8, kTileRows = 2;
using Raw = int32_t;
inline Raw load_raw(const char* p) {
  int32_t lane;
  std::memcpy(&lane, p, 4);
  return lane;
}
inline Raw broadcast(const void* p) { return load_raw(static_cast<const char*>(p)); }
inline float as_f32(Raw x) { return __builtin_bit_cast(float, x); }

template <>
struct Dot<float> {
  using Acc = float;
  static Raw step(Raw a, Raw b, Raw c) { return __builtin_bit_cast(Raw, as_f32(a) * as_f32(b) + as_f32(c)); }
};
template <>
struct Dot<bf16> {
  using Acc = float;
  static Raw step(Raw a, Raw b, Raw c) {
    const auto low = [](Raw x) { return as_f32(static_cast<Raw>(static_cast<uint32_t>(x) << 16)); };
    const auto high = [](Raw x) { return as_f32(static_cast<Raw>(static_cast<uint32_t>(x) & 0xffff0000u)); };
    return __builtin_bit_cast(Raw, high(a) * high(b) + (low(a) * low(b) + as_f32(c)));
  }
};
template <>
struct Dot<uint8_t> {
  using Acc = int32_t;
  static Raw step(Raw a, Raw b, Raw c) {
    for (int i = 0; i < 32; i += 8)
      c += static_cast<int32_t>((static_cast<uint32_t>(a) >> i) & 255u) *
           static_cast<int8_t>((static_cast<uint32_t>(b) >> i) & 255u);
    return c;
  }
};
inline void store_raw(void* p, Raw x) { std::memcpy(p, &x, 4); }
inline Raw zero_raw() { return 0; }
inline Raw add_f32(Raw x, Raw y) { return __builtin_bit_cast(Raw, as_f32(x) + as_f32(y)); }

#endif

constexpr int kTileColumns = kTileVectors * kLanes;
constexpr int kStripe = kTileColumns > kPanel ? kTileColumns : static_cast<int>(kPanel);  // columns finished together
constexpr int64_t kStepsInL1 = 128;  // rows of a packed panel kept in the first-level cache while rows of A pass
constexpr int64_t kStepsOfTaps = 96;  // of small neighbouring pieces, that pass through a tile together

// How the sums over a piece of k join those over the pieces before: the first ones are stored, whole numbers go on from
// there, floats are summed by themselves and added, for one long chain of them would lose about twice as much.
enum class Join { store, go_on, add };

// sums[rows][vectors] (+)= A x W for `pieces` times `steps` lanes of k; without `several` that is one. `a`: one pointer a
// row, for each piece kTileRows of them; `b`: one a vector, 128 bytes a step.
template <class T, int rows, int vectors, bool several>
void tile(const char* const* a, const char* const* b, int64_t pieces, int64_t steps, void* sums, int64_t stride_bytes,
          Join join) {
  // Every loop over registers is unrolled early, else the compiler keeps the sums in memory.
  Raw acc[rows][vectors];
#pragma GCC unroll 8
  for (int r = 0; r < rows; ++r)
#pragma GCC unroll 8
    for (int v = 0; v < vectors; ++v)
      acc[r][v] = join != Join::go_on ? zero_raw() : load_raw(static_cast<char*>(sums) + r * stride_bytes + v * (kLanes * 4));
  const char* weights[vectors];
#pragma GCC unroll 8
  for (int v = 0; v < vectors; ++v) weights[v] = b[v];
  for (int64_t p = 0; p < (several ? pieces : 1); ++p, a += kTileRows) {
    const char* from[rows];
#pragma GCC unroll 8
    for (int r = 0; r < rows; ++r) from[r] = a[r];
    for (int64_t s = 0; s < steps; ++s) {
      Raw w[vectors];
#pragma GCC unroll 8
      for (int v = 0; v < vectors; ++v) w[v] = load_raw(weights[v] + s * kRowBytes);
#pragma GCC unroll 8
      for (int r = 0; r < rows; ++r) {
        const Raw x = broadcast(from[r] + s * 4);
#pragma GCC unroll 8
        for (int v = 0; v < vectors; ++v) acc[r][v] = Dot<T>::step(x, w[v], acc[r][v]);
      }
    }
#pragma GCC unroll 8
    for (int v = 0; v < vectors; ++v) weights[v] += steps * kRowBytes;
  }
  if (join == Join::add) {
#pragma GCC unroll 8
    for (int r = 0; r < rows; ++r)
#pragma GCC unroll 8
      for (int v = 0; v < vectors; ++v)
        acc[r][v] = add_f32(load_raw(static_cast<char*>(sums) + r * stride_bytes + v * (kLanes * 4)), acc[r][v]);
  }
#pragma GCC unroll 8
  for (int r = 0; r < rows; ++r)
#pragma GCC unroll 8
    for (int v = 0; v < vectors; ++v)
      store_raw(static_cast<char*>(sums) + r * stride_bytes + v * (kLanes * 4), acc[r][v]);
}

using TileFn = void(const char* const*, const char* const*, int64_t, int64_t, void*, int64_t, Join);

template <class T, int vectors, bool several>
inline TileFn* tile_of(int64_t rows) {
  if constexpr (kTileRows == 6) {
    constexpr TileFn* all[] = {tile<T, 1, vectors, several>, tile<T, 2, vectors, several>, tile<T, 3, vectors, several>,
                               tile<T, 4, vectors, several>, tile<T, 5, vectors, several>, tile<T, 6, vectors, several>};
    return all[rows - 1];
  } else {
    constexpr TileFn* all[] = {tile<T, 1, vectors, several>, tile<T, 2, vectors, several>};
    return all[rows - 1];
  }
}

// Where the pieces of a task's rows of A start.
template <class T>
class Source {
 public:
  Source(const Gemm& g, int64_t first_row, int64_t rows) : g_(g), first_(first_row) {
    if (!g.taps) return;
    int64_t x = first_row % g.taps->width, y = first_row / g.taps->width % g.taps->height;
    for (int64_t r = 0; r < rows; ++r) {  // divisions once a row, not once a tap
      x_[r] = static_cast<int32_t>(x);
      y_[r] = static_cast<int32_t>(y);
      if (++x < g.taps->width) continue;
      x = 0;
      if (++y == g.taps->height) y = 0;
    }
  }
  // Row r of the task, its neighbour `tap`.
  const char* at(int64_t r, int tap) const {
    if (!g_.taps) return reinterpret_cast<const char*>(g_.a.row<T>(first_ + r));
    const Taps& t = *g_.taps;
    const int64_t x = x_[r] + t.dx[tap], y = y_[r] + t.dy[tap];
    if (x < 0 || x >= t.width || y < 0 || y >= t.height) return static_cast<const char*>(t.zeros);
    return reinterpret_cast<const char*>(g_.a.row<T>(first_ + r + t.dy[tap] * t.width + t.dx[tap]));
  }

 private:
  const Gemm& g_;
  const int64_t first_;
  int32_t x_[kTaskRows], y_[kTaskRows];
};

// The tile for `columns` that are left of a stripe, in vectors that are not all beyond them.
template <class T, bool several>
inline TileFn* tile_for(int64_t rows, int64_t columns) {
  constexpr int half = kTileVectors / 2, quarter = kTileVectors / 4 > 0 ? kTileVectors / 4 : 1;
  if (columns > half * kLanes) return tile_of<T, kTileVectors, several>(rows);
  return columns > quarter * kLanes ? tile_of<T, half, several>(rows) : tile_of<T, quarter, several>(rows);
}

template <class T>
void gemm_rows(const Gemm& g, int64_t first_row, int64_t rows, int64_t first_panel, int64_t panels, char* scratch) {
  using Acc = typename Dot<T>::Acc;
  constexpr int64_t lane = 4 / sizeof(T);
  const PackedLinear& w = *g.w;
  const Source<T> source(g, first_row, rows);
  const int taps = g.taps ? g.taps->count : 1;
  const int64_t piece = (g.taps ? g.taps->channels : w.k) / lane;  // lanes of k in one tap
  const int together = taps > 1 && 2 * piece <= kStepsOfTaps ? static_cast<int>(least(taps, kStepsOfTaps / piece)) : 1;
  Acc* sums = reinterpret_cast<Acc*>(scratch);
  const int64_t last_column = (first_panel + panels) * kPanel;
  const bool bare = g.bare && std::is_same_v<Acc, float>;
  const int64_t stride = bare ? g.end.out.stride : kStripe;
  for (int64_t column = first_panel * kPanel; column < last_column; column += kStripe) {
    const int64_t width = least(kStripe, least(last_column, w.n) - column);
    for (int tap = 0; tap < taps; tap += together)
      for (int64_t s = 0; s < piece; s += kStepsInL1) {
        const int64_t steps = least(kStepsInL1, piece - s);
        const int pieces = static_cast<int>(least(together, taps - tap));
        const char* b[kStripe / kLanes];
        for (int64_t c = 0; c < round_up(width, kPanel); c += kLanes)
          b[c / kLanes] = w.panel((column + c) / kPanel) + (tap * piece + s) * kRowBytes + c % kPanel * 4;
        const Join join = tap == 0 && s == 0 ? Join::store : std::is_same_v<Acc, float> ? Join::add : Join::go_on;
        const bool last = tap + pieces == taps && s + steps == piece;
        for (int64_t r = 0; r < rows; r += kTileRows) {
          const int64_t count = rows - r < kTileRows ? rows - r : kTileRows;
          const char* a[9 * kTileRows];
          for (int p = 0; p < pieces; ++p)
            for (int64_t i = 0; i < count; ++i) a[p * kTileRows + i] = source.at(r + i, tap + p) + s * 4;
          Acc* to = bare ? g.end.out.row<Acc>(first_row + r) + column : sums + r * kStripe;
          for (int64_t c = 0; c < width; c += kTileColumns)
            (pieces > 1 ? tile_for<T, true>(count, width - c) : tile_for<T, false>(count, width - c))(
                a, b + c / kLanes, pieces, steps, to + c, stride * 4, join);
          if (last && !bare) finish(g, to, kStripe, first_row + r, count, column, width);
        }
      }
  }
}

}  // namespace spar::cpu::ENGINE_ISA
