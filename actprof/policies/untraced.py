"""What lerobot knows by name and actprof does not trace, each with the reason."""

from __future__ import annotations

_REWARDS = (
    "a reward model, not a policy: lerobot-train takes it as --reward_model.type, and actprof follows "
    "policies only"
)
_ZERO_SHOT = "a reward model that is used as it is: lerobot-train does not train it"
_ON_THE_HUB = (
    "the config.json of its checkpoint decides every width of it, has no defaults in lerobot, and is not "
    "written down here yet"
)

UNTRACED: dict[str, str] = {
    "gaussian_actor": (
        "lerobot-train cannot train it: its class takes no dataset_stats, which make_policy hands to every "
        "policy; lerobot's actor and learner of reinforcement learning train it"
    ),
    "lingbot_va": (
        "training it needs attn_mode=flex, whose attention is a kernel that torch.compile makes on the spot"
    ),
    "molmoact2": _ON_THE_HUB,
    "reward_classifier": _REWARDS,
    "robometer": _ZERO_SHOT,
    "sarm": _REWARDS,
    "topreward": _ZERO_SHOT,
    "wall_x": _ON_THE_HUB,
}
