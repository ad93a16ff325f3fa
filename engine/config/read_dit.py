"""Readers of the DiT and of its sampler: the `transformer` and `scheduler` configurations of diffusers."""

from __future__ import annotations

from typing import Any

from ..errors import ConfigError
from . import known
from .generation import DiTConfig, SamplerConfig
from .jsonfile import Fields, shown
from .merge import merge, numbers

DIT_KEYS = {
    "depth": "num_layers", "heads": "num_attention_heads", "head_dim": "attention_head_dim",
    "cross_heads": "num_cross_attention_heads", "cross_head_dim": "cross_attention_head_dim",
    "caption_width": "caption_channels", "sample_size": "sample_size", "mlp_ratio": "mlp_ratio",
    "in_channels": "in_channels", "out_channels": "out_channels", "patch_size": "patch_size", "eps": "norm_eps",
}  # fmt: skip


def read_dit(
    fields: Fields | None, told: dict[str, Any], base: DiTConfig | None, where: str, position: str
) -> DiTConfig:
    """DiTConfig of a SanaTransformer2DModel configuration; `position` is the setting for its position table."""
    given: dict[str, Any] = {}
    if fields is not None:
        where = fields.where
        fields.refuse_unknown(known.DIT | {*DIT_KEYS.values(), "attention_bias", "cross_attention_dim",
                                           "norm_elementwise_affine", "interpolation_scale", "guidance_embeds",
                                           "guidance_embeds_scale", "qk_norm", "timestep_scale"})  # fmt: skip
        fields.only("_class_name", "SanaTransformer2DModel")
        fields.only("attention_bias", False)
        fields.only("norm_elementwise_affine", False)
        fields.only("interpolation_scale", 1, 1.0)
        fields.only("guidance_embeds", False)
        fields.only("qk_norm")
        fields.only("timestep_scale", 1.0, 1)
        given = numbers(fields, DIT_KEYS)
    made = merge(DiTConfig, where, DIT_KEYS, given | {"position": position}, told, base, checked=("depth",))
    if fields is not None and (cross := fields.whole("cross_attention_dim")) not in (None, made.width):
        raise ConfigError(
            f"{where}: cross_attention_dim={cross} must equal the width, "
            f"num_attention_heads x attention_head_dim = {made.width}"
        )
    return made


def read_sampler(fields: Fields | None) -> SamplerConfig:
    """SamplerConfig of a diffusers scheduler; settings that the two samplers of this engine do not have are refused."""
    if fields is None:
        return SamplerConfig()
    kind = fields.text("_class_name")
    if kind not in _SAMPLERS:
        raise ConfigError(
            f"{fields.where}: _class_name={shown(kind)} is not supported; this engine has {' and '.join(_SAMPLERS)}"
        )
    shift, settings = _SAMPLERS[kind]
    fields.refuse_unknown(known.SAMPLER | _NEVER | settings.keys() | {"num_train_timesteps", shift})
    for key in _NEVER:
        fields.only(key, False)
    for key, allowed in settings.items():
        fields.only(key, *allowed)
    steps, value = fields.whole("num_train_timesteps", 1000), fields.number(shift)
    if value is None:
        raise ConfigError(f"{fields.where}: lacks {shift!r}; add it (3.0 for the published models)")
    if shift == "shift":
        return SamplerConfig(kind="euler", shift=value, train_steps=steps, linspace=True)
    for key in ("prediction_type", "use_flow_sigmas"):  # diffusers takes another meaning where these are absent
        if key not in fields:
            raise ConfigError(f"{fields.where}: lacks {key!r}; add it ({settings[key][0]!r} for this family)")
    return SamplerConfig(shift=value, train_steps=steps)


_NEVER = frozenset(("use_karras_sigmas", "use_exponential_sigmas", "use_beta_sigmas", "use_dynamic_shifting"))
_SAMPLERS: dict[str, tuple[str, dict[str, tuple]]] = {
    "DPMSolverMultistepScheduler": (
        "flow_shift",
        {
            "algorithm_type": ("dpmsolver++",),
            "solver_order": (2,),
            "solver_type": ("midpoint",),
            "prediction_type": ("flow_prediction",),
            "use_flow_sigmas": (True,),
            "final_sigmas_type": ("zero",),
            "lower_order_final": (True,),
            "euler_at_final": (False,),
            "thresholding": (False,),
            "use_lu_lambdas": (False,),
            "rescale_betas_zero_snr": (False,),
            "lambda_min_clipped": (float("-inf"),),
        },
    ),
    "FlowMatchEulerDiscreteScheduler": (
        "shift",
        {"invert_sigmas": (False,), "stochastic_sampling": (False,), "shift_terminal": ()},
    ),
}
"""Scheduler class -> key of its shift, and the settings that must have the one value this engine computes."""
