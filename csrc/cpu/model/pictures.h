// Small movements of pictures and rows between the seam's layout and ours.
#pragma once

#include "model/run.h"

namespace spar::cpu {

// [pictures, channels, pixels] f32 to rows [pictures * pixels, channels] of f32 or bf16, and back.
void to_rows(Run& run, const float* picture, const View& rows, int64_t pictures, int64_t channels, int64_t pixels);
void from_rows(Run& run, const View& rows, float* picture, int64_t pictures, int64_t channels, int64_t pixels);

// A row of zeros, for neighbours outside a picture.
View zeros(Run& run, int64_t channels);

// The neighbours of a square kernel, row by row, the first at (top, left) of the pixel.
Taps taps_of(int64_t height, int64_t width, int64_t channels, int kernel, int top, int left, const void* zeros);

}  // namespace spar::cpu
