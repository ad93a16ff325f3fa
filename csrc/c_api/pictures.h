// Pictures to what the vision tower reads (spec 1.3, 1.7, 3.5), and the decoder's floats to pictures (spec 1.1 step
// 10).
#pragma once

#include <cstddef>
#include <vector>

#include "c_api/resample.h"

namespace spar::c_api {

// A picture of the caller: `height` rows of `width` RGB pixels, `stride` bytes apart (0: without gaps). InputError for
// one that is null, smaller than 2x2, or larger than 16384 a side, 178 million pixels, or 100:1.
Bytes checked_picture(const uint8_t* pixels, int64_t width, int64_t height, int64_t stride);

// [3, size, size] float32 of the source picture of an edit: squashed and normalised.
std::vector<float> edit_pixels(const Bytes& picture, int64_t size);
// [3, size, size] of a picture to reconstruct: shorter side to `size`, middle square, normalised.
std::vector<float> reconstruct_pixels(const Bytes& picture, int64_t size);
// Tiles [3, size, size] of the picture of a question; 1 tile squashes it, several end with the whole as a thumbnail.
std::vector<std::vector<float>> chat_pixels(const Bytes& picture, int64_t size, int64_t max_tiles);

// Decoded [3, rows, columns], nominally in [-1, 1], as bytes: a generated one clamped, resized to 28/32 unless `full`,
// and rounded; a reconstructed one resized first and truncated. A value that is not finite is an error: the weights are
// damaged.
Bytes generated_picture(const std::vector<float>& decoded, int64_t rows, int64_t columns, bool full);
Bytes reconstructed_picture(const std::vector<float>& decoded, int64_t rows, int64_t columns);

}  // namespace spar::c_api
