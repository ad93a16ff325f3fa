// Matrix product with packed weights: out = epilogue(A x W), A [m, k] row-major, W [k, n] packed.
//
// Packed weights: panels of 32 columns; inside a panel one row of 128 bytes for every `per_lane` values of k:
//
//   f32   [panel][k    ][32 columns]        one value of k in a 32-bit lane
//   bf16  [panel][k / 2][32 columns][2]     two
//   s8    [panel][k / 4][32 columns][4]     four
//   s4    [panel][k / 32] groups of: 32 scales in bf16, then [at most 4][32 columns][4], eight in a lane: byte i holds
//         values i (low nibble) and 4 + i (high) of its eight, with 8 added
//
// Columns beyond n and values of k beyond the real ones are zero. The same bytes serve every instruction set: two
// 64-byte vectors or four 32-byte ones a row, and 16 rows of 64 bytes, 128 apart, are one AMX tile.
//
// Sums are taken in float32 (int32 for s8) in the order of k, whatever the split into tasks. With s4 weights A is s8 in
// groups of its own; a group is summed exactly, then out += sum x (scale of A x scale of W) by one fused multiply-add.
#pragma once

#include <cstdint>

#include "core/types.h"

namespace spar::cpu {

constexpr int64_t kPanel = 32;                 // columns of a panel
constexpr int64_t kRowBytes = kPanel * 4;      // bytes of a packed row
constexpr int64_t kGroup = 32;                 // values of k that share a scale, s4 only
constexpr int64_t kScaleBytes = kPanel * 2;    // bytes of the scales of a group

// Bytes of one panel; k as stored.
SPAR_INLINE constexpr int64_t panel_bytes(Type type, int64_t k) {
  return k / per_lane(type) * kRowBytes + (type == Type::s4 ? ceil_div(k, kGroup) * kScaleBytes : 0);
}

struct PackedLinear {
  const char* data = nullptr;
  Type type = Type::f32;          // f32, bf16, s8 or s4
  int64_t n = 0, k = 0;           // real columns; k as stored: a multiple of per_lane(type)
  const float* bias = nullptr;    // [n]
  const float* scale = nullptr;   // [n], s8 only: value of one unit of column n
  const int32_t* sums = nullptr;  // [n], s8 only: sum of the column, to undo the 128 added to activations
  int64_t stride = 0;             // bytes from one panel to the next; 0: they follow each other
  int64_t padding = 0;            // of k: the last values, which the layer does not have

  SPAR_INLINE int64_t panels() const { return ceil_div(n, kPanel); }
  SPAR_INLINE int64_t steps() const { return k / per_lane(type); }
  SPAR_INLINE int64_t groups() const { return ceil_div(k, kGroup); }
  SPAR_INLINE const char* panel(int64_t index) const { return data + index * (stride ? stride : panel_bytes(type, k)); }
};

// A convolution as a product: row m of A is made of `taps` pieces, each the channels of one neighbour of pixel m.
struct Taps {
  int64_t height, width;      // of the picture; rows of A count pixels, pictures one after another
  int64_t channels;           // k = taps * channels
  int count;
  int8_t dy[9], dx[9];
  const void* zeros;          // `channels` zeros, for neighbours outside
};

enum class Act : uint8_t { none, silu, gelu_erf, gelu_tanh, glu_silu };

// out[row(m), n] = (act(acc + bias) * gate + residual). With glu_silu each panel holds 16 gates, then 16 values, and
// gives 16 columns silu(gate) * value.
struct Epilogue {
  Act act = Act::none;
  const float* gate = nullptr;    // [groups, n]; row m uses group m / gate_rows
  int64_t gate_rows = 0;          // 0: one group
  int64_t gate_stride = 0;
  View residual;                  // f32, indexed like out; null: none
  View out;
  int64_t first_row = 0;          // row m is row m - first_row of out: for tasks with a buffer of their own
  // Rows of out. width 0: row m. Else a picture twice as large: pixel (y, x) goes to (2y + phase_y, 2x + phase_x).
  int64_t phase_height = 0, phase_width = 0;
  int phase_y = 0, phase_x = 0;
};

struct Gemm {
  View a;                          // row m; its type is f32, bf16, u8 for s8 weights, s8 for s4 weights
  const Taps* taps = nullptr;      // null: plain rows, the only ones that s4 takes
  const float* a_scale = nullptr;  // u8 [m]: value of one unit of row m; s8 [m, groups]: of each of its groups
  const int32_t* a_offset = nullptr;  // [m, groups], s8 only: -8 times the sum of the group, to undo the 8 of W
  const PackedLinear* w = nullptr;
  int64_t m = 0;
  // The result is the sums themselves: `end` has nothing but an f32 `out`, whose rows have room for whole panels and may be
  // summed in; what is beyond column n is not defined.
  bool bare = false;
  Epilogue end;
};

// Rows of a task at most, and the scratch it needs.
constexpr int64_t kTaskRows = 288;
constexpr int64_t kGemmScratch = 96 << 10;  // bytes; kTaskRows x 64 sums, or 16 panels of tiles and what they gather

// Rows first_row.. and panels first_panel.. of the result; at most kTaskRows rows.
using GemmTask = void(const Gemm&, int64_t first_row, int64_t rows, int64_t first_panel, int64_t panels, char* scratch);

}  // namespace spar::cpu
