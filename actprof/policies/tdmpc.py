"""TD-MPC, `lerobot/policies/tdmpc/modeling_tdmpc.py`: learns from rewards; one square camera, or none."""

from __future__ import annotations

from actprof.policies.spec import PolicySpec

SPEC = PolicySpec(
    name="tdmpc",
    title="TD-MPC",
    history=lambda config: config["horizon"] + 1,
    example={"cameras": 1, "resolution": "84x84"},
    sizeless=frozenset(
        {
            "optimizer_lr", "n_action_repeats", "n_action_steps", "discount", "use_mpc", "cem_iterations",
            "max_std", "min_std", "n_gaussian_samples", "n_pi_samples", "uncertainty_regularizer_coeff",
            "n_elites", "elite_weighting_temperature", "gaussian_mean_momentum", "reward_coeff",
            "expectile_weight", "value_coeff", "consistency_coeff", "advantage_scaling", "pi_coeff",
            "temporal_decay_coeff", "target_model_momentum",
        }
    ),
    parts={"convolutions": ""},
    components=(
        ("model._encoder", "encoder"),
        ("model._dynamics", "dynamics"),
        ("model._reward", "reward"),
        ("model._pi", "policy head"),
        ("model._Qs", "Q ensemble"),
        ("model._V", "value"),
        ("model_target", "target network"),
    ),
    groups=(("model._encoder.image_enc_layers", "feature maps"),),
    # TDMPCTOLD._pi is called last on the latents of all steps: (horizon, batch, action_dim) comes out.
    line_modules=("", "model._encoder"),
)  # fmt: skip
