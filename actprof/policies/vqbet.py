"""VQ-BeT, `lerobot/policies/vqbet/modeling_vqbet.py`: two trainings, one after the other.

Its first `n_vqvae_training_steps` steps train the VQ-VAE of the actions alone; all later ones the GPT and the
backbone, beside the state that the optimizer keeps of the VQ-VAE, which take more memory. So one step of the
first kind comes here before those of the second, however many a run has. Of a run that never gets further
`n_vqvae_training_steps` is said to be `NEVER_ENDS` or more.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

from actprof.cell import Cell
from actprof.policies.spec import PolicySpec

NEVER_ENDS = 10_000_000
_REGIMES = (
    "VQ-BeT trains its VQ-VAE alone for the first n_vqvae_training_steps steps, then all but that, which "
    f"takes more memory and is what is shown here, unless n_vqvae_training_steps is {NEVER_ENDS:,} or more"
)


@contextmanager
def _one_step_of_the_first_kind(_cell: Cell) -> Iterator[None]:
    from lerobot.policies.vqbet import modeling_vqbet, vqbet_utils
    from lerobot.policies.vqbet.configuration_vqbet import VQBeTConfig

    check = VQBeTConfig.__post_init__

    def shorten(config: Any) -> None:
        check(config)
        if config.n_vqvae_training_steps < NEVER_ENDS:
            config.n_vqvae_training_steps = 1

    for module in (modeling_vqbet, vqbet_utils):  # they speak on standard output, which is ours
        vars(module)["print"] = lambda *_: None
    with mock.patch.object(VQBeTConfig, "__post_init__", shorten):
        yield


SPEC = PolicySpec(
    name="vqbet",
    title="VQ-BeT",
    history=lambda config: config["n_obs_steps"],
    example={"cameras": 1},
    fixed={"pretrained_backbone_weights": None},
    stand_ins=_one_step_of_the_first_kind,
    steps=3,
    follows_values=True,
    sizeless=frozenset(
        {
            "optimizer_lr", "optimizer_betas", "optimizer_eps", "optimizer_weight_decay",
            "optimizer_vqvae_lr", "optimizer_vqvae_weight_decay", "scheduler_warmup_steps",
            "offset_loss_weight", "primary_code_loss_weight", "secondary_code_loss_weight",
            "bet_softmax_temperature",
        }
    ),
    options={"crop_shape": (84, 84)},
    resized_by="crop_shape",
    parts={"convolutions": ""},
    components=(
        ("vqbet.rgb_encoder", "image encoder"),
        ("vqbet.policy", "GPT"),
        ("vqbet.action_head.vqvae_model", "VQ-VAE"),
        ("vqbet.action_head", "action head"),
    ),
    other_component="projections",
    # GPT.forward takes (batch, tokens, dim): image, state and query of each step of history, more queries.
    token_module="vqbet.policy",  # noqa: S106 - a module path, no password
    tokens_called="GPT tokens",
    line_modules=("", "vqbet", "vqbet.policy.transformer.h.0"),
    assumptions=(_REGIMES,),
)  # fmt: skip
