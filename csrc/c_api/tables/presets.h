// Made by csrc/c_api/generate.py. Not to be edited.
#pragma once

#include <string_view>

namespace spar::c_api {

inline constexpr std::string_view kPublished[] = {
   
    R"({"name": "spar-1b",
"vision": {"width": 1024, "depth": 24, "heads": 16, "mlp_width": 4096, "image_size": 448, "patch_size": 14, "eps": 1e-06}, "language": {"vocab_size": 151677, "width": 896, "depth": 24, "heads": 14, "kv_heads": 2, "mlp_width": 4864, "rope_theta": 1000000.0, "eps": 1e-06, "max_positions": 32768}, "connector_depth": 6, "query_count": 256, "streams": {"dual": true, "blocks": 3, "latent_channels": 32, "pixel_depth": 6, "pixel_heads": 16, "pixel_mlp_width": 3584}, "dit": {"depth": 28, "heads": 36, "head_dim": 32, "cross_heads": 16, "cross_head_dim": 72, "caption_width": 2304, "sample_size": 16, "mlp_ratio": 2.5, "in_channels": 32, "out_channels": 32, "patch_size": 1, "eps": 1e-06, "position": "sincos"}, "decoder": {"channels": [128, 256, 512, 512, 1024, 1024], "depths": [3, 3, 3, 3, 3, 3], "attention": [false, false, false, true, true, true], "scales": [[], [], [], [5], [5], [5]], "head_dim": 32, "latent_channels": 32}, "latent_scale": 10.6, "router": {"picks": 4, "temperature": 1.0}, "sampler": {"kind": "dpm-solver++",
"shift": 3.0, "train_steps": 1000, "linspace": false}, "image_token_id": 151667, "guidance_scale": 4.5})",
    R"({"name": "spar-3b",
"vision": {"width": 1024, "depth": 24, "heads": 16, "mlp_width": 4096, "image_size": 448, "patch_size": 14, "eps": 1e-06}, "language": {"vocab_size": 151677, "width": 1536, "depth": 28, "heads": 12, "kv_heads": 2, "mlp_width": 8960, "rope_theta": 1000000.0, "eps": 1e-06, "max_positions": 32768}, "connector_depth": 6, "query_count": 256, "streams": {"dual": true, "blocks": 3, "latent_channels": 32, "pixel_depth": 6, "pixel_heads": 16, "pixel_mlp_width": 6144}, "dit": {"depth": 20, "heads": 70, "head_dim": 32, "cross_heads": 20, "cross_head_dim": 112, "caption_width": 2304, "sample_size": 16, "mlp_ratio": 2.5, "in_channels": 32, "out_channels": 32, "patch_size": 1, "eps": 1e-06, "position": "sincos"}, "decoder": {"channels": [128, 256, 512, 512, 1024, 1024], "depths": [3, 3, 3, 3, 3, 3], "attention": [false, false, false, true, true, true], "scales": [[], [], [], [5], [5], [5]], "head_dim": 32, "latent_channels": 32}, "latent_scale": 9.5, "router": {"picks": 4, "temperature": 1.0}, "sampler": {"kind": "dpm-solver++",
"shift": 3.0, "train_steps": 1000, "linspace": false}, "image_token_id": 151667, "guidance_scale": 4.5})",
};

}  // namespace spar::c_api
