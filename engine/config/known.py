"""Keys of Hugging Face configuration files that change nothing in inference: known, read by nobody here."""


def words(text: str) -> frozenset[str]:
    return frozenset(text.split())


PRETRAINED = words(
    """
    add_cross_attention architectures attn_implementation auto_map bad_words_ids begin_suppress_tokens bos_token_id
    chunk_size_feed_forward cross_attention_hidden_size decoder_start_token_id diversity_penalty do_sample dtype
    early_stopping encoder_no_repeat_ngram_size eos_token_id exponential_decay_length_penalty finetuning_task
    forced_bos_token_id forced_eos_token_id gradient_checkpointing id2label initializer_factor initializer_range
    is_decoder is_encoder_decoder label2id length_penalty max_length min_length no_repeat_ngram_size num_beam_groups
    num_beams num_labels num_return_sequences output_attentions output_hidden_states output_scores pad_token_id prefix
    problem_type pruned_heads quantization_config remove_invalid_values repetition_penalty return_dict
    return_dict_in_generate sep_token_id suppress_tokens task_specific_params temperature tf_legacy_loss
    tie_encoder_decoder tokenizer_class top_k top_p torch_dtype torchscript transformers_version typical_p use_bfloat16
    use_cache use_return_dict
    """
)
"""What the base class writes for any model."""

TEXT = PRETRAINED | words(
    "attention_dropout max_window_layers model_type sliding_window tie_word_embeddings use_flash_attn"
)
"""Qwen2, beyond what `read_language` reads."""

VISION = PRETRAINED | words(
    """
    attention_dropout drop_path_rate dropout hidden_dropout_prob layer_scale_init_value model_type projection_dropout
    tie_word_embeddings use_flash_attn use_mean_pooling capacity_factor eval_capacity_factor laux_allreduce
    moe_coeff_ratio moe_intermediate_size moe_output_scale noisy_gate_policy num_experts num_routed_experts
    num_shared_experts shared_expert_intermediate_size use_residual use_rts use_weighted_residual
    """
)
"""InternViT, in both namings, beyond what `read_vision` reads."""

TOP = PRETRAINED | words(
    """
    dual_stream_dropout dynamic_image_size enable_repa force_image_size hidden_size image_aspect_ratio
    image_crop_resolution image_fold image_grid_pinpoints image_split_resolution image_token_index is_train
    max_dynamic_patch max_patches min_dynamic_patch min_patches pad2square system_message template use_backbone_lora
    use_llm_lora use_mm_proj use_thumbnail version vision_tower vision_tower_pretrained vocab_size
    """
)
"""The whole model: InternVL's chat settings and what the training scripts add."""

TRAINING_PREFIXES = tuple(sorted(words("mm_ repa_ fix_ freeze_ gen_ lora_ pretrain_ tokenizer_ tune_ unfreeze_")))
"""Families of training-only keys of the whole model."""

DIT = words("dropout")
DECODER = words(
    """
    downsample_block_type encoder_block_out_channels encoder_block_types encoder_layers_per_block
    encoder_qkv_multiscales encoder_out_shortcut in_channels scaling_factor
    """
)
SAMPLER = words(
    """
    base_image_seq_len base_shift beta_end beta_schedule beta_start dynamic_thresholding_ratio max_image_seq_len
    max_shift sample_max_value steps_offset time_shift_type timestep_spacing trained_betas variance_type
    """
)
