// Made by csrc/c_api/generate.py. Not to be edited.
#pragma once

#include <string_view>

namespace spar::c_api {

inline constexpr std::string_view kTextKeys[] = {
    "add_cross_attention", "architectures", "attention_dropout", "attn_implementation", "auto_map", "bad_words_ids",
    "begin_suppress_tokens", "bos_token_id", "chunk_size_feed_forward", "cross_attention_hidden_size",
    "decoder_start_token_id", "diversity_penalty", "do_sample", "dtype", "early_stopping",
    "encoder_no_repeat_ngram_size", "eos_token_id", "exponential_decay_length_penalty", "finetuning_task",
    "forced_bos_token_id", "forced_eos_token_id", "gradient_checkpointing", "id2label", "initializer_factor",
    "initializer_range", "is_decoder", "is_encoder_decoder", "label2id", "length_penalty", "max_length",
    "max_window_layers", "min_length", "model_type", "no_repeat_ngram_size", "num_beam_groups", "num_beams",
    "num_labels", "num_return_sequences", "output_attentions", "output_hidden_states", "output_scores",
    "pad_token_id", "prefix", "problem_type", "pruned_heads", "quantization_config", "remove_invalid_values",
    "repetition_penalty", "return_dict", "return_dict_in_generate", "sep_token_id", "sliding_window",
    "suppress_tokens", "task_specific_params", "temperature", "tf_legacy_loss", "tie_encoder_decoder",
    "tie_word_embeddings", "tokenizer_class", "top_k", "top_p", "torch_dtype", "torchscript", "transformers_version",
    "typical_p", "use_bfloat16", "use_cache", "use_flash_attn", "use_return_dict",
};

inline constexpr std::string_view kVisionKeys[] = {
    "add_cross_attention", "architectures", "attention_dropout", "attn_implementation", "auto_map", "bad_words_ids",
    "begin_suppress_tokens", "bos_token_id", "capacity_factor", "chunk_size_feed_forward",
    "cross_attention_hidden_size", "decoder_start_token_id", "diversity_penalty", "do_sample", "drop_path_rate",
    "dropout", "dtype", "early_stopping", "encoder_no_repeat_ngram_size", "eos_token_id", "eval_capacity_factor",
    "exponential_decay_length_penalty", "finetuning_task", "forced_bos_token_id", "forced_eos_token_id",
    "gradient_checkpointing", "hidden_dropout_prob", "id2label", "initializer_factor", "initializer_range",
    "is_decoder", "is_encoder_decoder", "label2id", "laux_allreduce", "layer_scale_init_value", "length_penalty",
    "max_length", "min_length", "model_type", "moe_coeff_ratio", "moe_intermediate_size", "moe_output_scale",
    "no_repeat_ngram_size", "noisy_gate_policy", "num_beam_groups", "num_beams", "num_experts", "num_labels",
    "num_return_sequences", "num_routed_experts", "num_shared_experts", "output_attentions", "output_hidden_states",
    "output_scores", "pad_token_id", "prefix", "problem_type", "projection_dropout", "pruned_heads",
    "quantization_config", "remove_invalid_values", "repetition_penalty", "return_dict", "return_dict_in_generate",
    "sep_token_id", "shared_expert_intermediate_size", "suppress_tokens", "task_specific_params", "temperature",
    "tf_legacy_loss", "tie_encoder_decoder", "tie_word_embeddings", "tokenizer_class", "top_k", "top_p",
    "torch_dtype", "torchscript", "transformers_version", "typical_p", "use_bfloat16", "use_cache", "use_flash_attn",
    "use_mean_pooling", "use_residual", "use_return_dict", "use_rts", "use_weighted_residual",
};

inline constexpr std::string_view kTopKeys[] = {
    "add_cross_attention", "architectures", "attn_implementation", "auto_map", "bad_words_ids",
    "begin_suppress_tokens", "bos_token_id", "chunk_size_feed_forward", "cross_attention_hidden_size",
    "decoder_start_token_id", "diversity_penalty", "do_sample", "dtype", "dual_stream_dropout", "dynamic_image_size",
    "early_stopping", "enable_repa", "encoder_no_repeat_ngram_size", "eos_token_id",
    "exponential_decay_length_penalty", "finetuning_task", "force_image_size", "forced_bos_token_id",
    "forced_eos_token_id", "gradient_checkpointing", "hidden_size", "id2label", "image_aspect_ratio",
    "image_crop_resolution", "image_fold", "image_grid_pinpoints", "image_split_resolution", "image_token_index",
    "initializer_factor", "initializer_range", "is_decoder", "is_encoder_decoder", "is_train", "label2id",
    "length_penalty", "max_dynamic_patch", "max_length", "max_patches", "min_dynamic_patch", "min_length",
    "min_patches", "no_repeat_ngram_size", "num_beam_groups", "num_beams", "num_labels", "num_return_sequences",
    "output_attentions", "output_hidden_states", "output_scores", "pad2square", "pad_token_id", "prefix",
    "problem_type", "pruned_heads", "quantization_config", "remove_invalid_values", "repetition_penalty",
    "return_dict", "return_dict_in_generate", "sep_token_id", "suppress_tokens", "system_message",
    "task_specific_params", "temperature", "template", "tf_legacy_loss", "tie_encoder_decoder", "tokenizer_class",
    "top_k", "top_p", "torch_dtype", "torchscript", "transformers_version", "typical_p", "use_backbone_lora",
    "use_bfloat16", "use_cache", "use_llm_lora", "use_mm_proj", "use_return_dict", "use_thumbnail", "version",
    "vision_tower", "vision_tower_pretrained", "vocab_size",
};

inline constexpr std::string_view kReadKeys[] = {
    "connect_layer", "dit_path", "dit_pos_embed", "downsample_ratio", "dual_stream_mlp_ratio",
    "dual_stream_num_heads", "dual_stream_num_layers", "enable_dynamic_routing", "guidance_scale", "image_seq_length",
    "image_token_id", "llm_config", "mllm_hf_path", "mllm_path", "model_type", "n_query", "projector_hidden_act",
    "ps_version", "routing_num_layers", "routing_temperature", "select_layer", "text_config", "tie_word_embeddings",
    "unilip_factor", "use_dual_stream", "vae_path", "vision_config", "vision_feature_layer",
    "vision_feature_select_strategy",
};

inline constexpr std::string_view kTrainingPrefixes[] = {
    "fix_", "freeze_", "gen_", "lora_", "mm_", "pretrain_", "repa_", "tokenizer_", "tune_", "unfreeze_",
};

inline constexpr std::string_view kDitKeys[] = {
    "dropout",
};

inline constexpr std::string_view kDecoderKeys[] = {
    "downsample_block_type", "encoder_block_out_channels", "encoder_block_types", "encoder_layers_per_block",
    "encoder_out_shortcut", "encoder_qkv_multiscales", "in_channels", "scaling_factor",
};

inline constexpr std::string_view kSamplerKeys[] = {
    "base_image_seq_len", "base_shift", "beta_end", "beta_schedule", "beta_start", "dynamic_thresholding_ratio",
    "max_image_seq_len", "max_shift", "sample_max_value", "steps_offset", "time_shift_type", "timestep_spacing",
    "trained_betas", "variance_type",
};

}  // namespace spar::c_api
