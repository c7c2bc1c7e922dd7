"""Flags that lerobot reads and does nothing with are named; those that count are not."""

from __future__ import annotations

import pytest

from actprof.preflight_check.ignored_flags import ignored_flags
from actprof.preflight_check.training_run import TrainingRun

RUN = {"policy_type": "act", "repo_id": "me/x", "batch_size": 8, "steps": 100, "save_freq": 20}


def names(*flags, **more):
    return [trap.name for trap in ignored_flags(TrainingRun(**RUN | more), flags)]


@pytest.mark.parametrize(
    ("flag", "more", "name"),
    [
        ("--optimizer.type=sgd", {"optimizer_ignored": "sgd"}, "optimizer_ignored"),
        ("--optimizer.lr=5e-5", {"rate_ignored": 5e-5}, "rate_ignored"),
        ("--config_path=x.json", {"rate_replaced": 5e-5}, "rate_ignored"),
        ("--optimizer.weight_decay=0.1", {}, "optimizer_fields_ignored"),
        ("--optimizer.betas=[0.9, 0.99]", {}, "optimizer_fields_ignored"),
        ("--optimizer.lr=5e-5", {"resume": True}, "resumed_optimizer"),
        ("--policy.optimizer_lr=5e-5", {"resume": True}, "resumed_optimizer"),
        ("--scheduler.type=diffuser", {}, "scheduler_ignored"),
        ("--policy.optimizer_lr=5e-5", {"preset": False}, "policy_optimizer_ignored"),
        ("--policy.scheduler_warmup_steps=5", {"preset": False}, "policy_optimizer_ignored"),
        ("--wandb.project=x", {}, "wandb_off"),
        ("--dataset.image_transforms.max_num_transforms=2", {}, "transforms_off"),
        ("--eval.n_episodes=10", {}, "no_environment"),
        ("--env_eval_freq=1000", {}, "no_environment"),
        ("--max_eval_samples=10", {}, "no_evaluation"),
        ("--dataset.eval_split=0.1", {}, "held_out_for_nothing"),
        ("--prefetch_factor=2", {"num_workers": 0}, "no_workers"),
        ("--save_freq=5", {"save_checkpoint": False}, "no_checkpoints"),
        ("--job.timeout=2h", {}, "no_job"),
        ("--policy.pretrained_revision=v2", {}, "nothing_pretrained"),
        ("--dataset.return_uint8=true", {}, "always_uint8"),
        ("--policy.device=cuda:1", {"device": "cuda:1"}, "device_index"),
    ],
)
def test_an_ignored_flag_is_named(flag, more, name):
    """By what lerobot's own code looks at."""
    (trap,) = ignored_flags(TrainingRun(**RUN | more), (flag,))
    assert name == trap.name
    assert flag.partition("=")[0] in trap.text or "saved config" in trap.text


@pytest.mark.parametrize(
    ("flags", "more"),
    [
        (["--policy.optimizer_lr=5e-5"], {}),
        (["--optimizer.type=adam", "--optimizer.lr=1e-4", "--scheduler.type=diffuser"], {"preset": False}),
        (["--wandb.enable=true", "--wandb.project=x"], {}),
        (["--wandb.enable=false"], {}),
        (["--dataset.image_transforms.enable=true", "--dataset.image_transforms.max_num_transforms=2"],
         {"image_transforms": {"tfs": {}}}),
        (["--dataset.image_transforms.enable=false"], {}),
        (["--env.type=aloha", "--eval.n_episodes=10", "--env_eval_freq=10"], {}),
        (["--env_eval_freq=0"], {}),
        (["--eval_steps=100", "--max_eval_samples=10", "--dataset.eval_split=0.1"], {}),
        (["--prefetch_factor=2"], {}),
        (["--job.target=t4-small", "--job.timeout=2h"], {"job_target": "t4-small"}),
        (["--policy.device=cuda:0"], {"device": "cuda:0"}),
        (["--config_path=x.json", "--wandb.project=x"], {}),
        (["--config_path=x.json", "--policy.optimizer_lr=1e-4"], {"rate_replaced": 1e-5}),
    ],
)  # fmt: skip
def test_a_flag_that_counts_is_no_trap(flags, more):
    """Nor one that a saved config may have switched on."""
    assert [] == names(*flags, **more)


def test_a_learning_rate_has_the_flag_that_counts_beside_it():
    """As the policy names it."""
    (trap,) = ignored_flags(TrainingRun(**RUN, rate_ignored=2e-4), ("--optimizer.lr=2e-4",))
    assert "Say --policy.optimizer_lr=0.0002." in trap.text
