// The ops as CUDA launches. Pointers are device memory; nothing is allocated, copied back or waited for, so that every
// call can be captured in a graph. Each throws BackendError where the launch is refused: no GPU, no memory for it.
//
// bf16 matrices and activations, f32 vectors. In contrast to the CPU ops, dynamic_token_routing rounds the normalised
// row to bf16 before the projection (operand of the tensor cores).
#pragma once

#include <cstdint>

#include "engine/clamp_resize_uint8.h"
#include "engine/cross_attention.h"
#include "engine/dynamic_token_routing.h"
#include "engine/gate_residual.h"
#include "engine/glumbconv_core.h"
#include "engine/guide_and_step.h"
#include "engine/layer_norm_modulate.h"
#include "engine/quantize_rows.h"
#include "engine/relu_linear_attention.h"

namespace spar::cuda {

using Stream = void*;  // cudaStream_t

// Sizes that the kernels demand: 16-byte vectors, and what fits on chip.
inline constexpr int64_t kVector = 8, kLargestDepth = 32, kLargestHead = 128, kWidestRow = 4096, kWidestRouting = 3072,
                         kWidestQuantized = 8192, kLargestPicture = 32767;

// Bytes of scratch that a call needs.
int64_t dynamic_token_routing_workspace(int64_t tokens, int64_t hidden, int64_t depth);
int64_t relu_linear_attention_workspace(int64_t batch, int64_t heads, int64_t tokens, int64_t head_dim);

void dynamic_token_routing(const DynamicTokenRouting&, void* workspace, Stream);
void relu_linear_attention(const ReluLinearAttention&, void* workspace, Stream);
void cross_attention(const CrossAttention&, Stream);
void layer_norm_modulate(const LayerNormModulate&, Stream);
void gate_residual(const GateResidual&, Stream);
void quantize_rows(const QuantizeRows&, Stream);
void glumbconv_core(const GlumbconvCore&, Stream);
void guide_and_step(const GuideAndStep&, Stream);
void clamp_resize_uint8(const ClampResizeUint8&, Stream);

}  // namespace spar::cuda
