"""A `Workload`: the live policy, optimizer, pre-processing and training step of one `Cell`.

Everything in it is lerobot's own (`make_policy`, the policy's pre-processor and optimizer preset,
`update_policy`), on whatever device and under whatever tensor mode the caller has set up.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from typing import Any, get_type_hints
from unittest import mock

import torch

from actprof.cell import Cell
from actprof.errors import FieldError, UsageError
from actprof.policies import policy_spec
from actprof.policies.accelerator import PhaseContext, StepAccelerator, no_phase
from actprof.policies.adapter import with_adapter
from actprof.policies.apply_changes import change_optimizer, change_policy
from actprof.policies.config_fields import field_problem
from actprof.policies.dataset import asks_for_rewards, batches, camera_keys, dataset_meta
from actprof.policies.ddp import DataParallel
from actprof.policies.eight_bit_adamw import build_8_bit
from actprof.policies.fsdp import shard
from actprof.policies.hub import without_hub
from actprof.policies.lerobot_versions import another_lerobot_is_named
from actprof.policies.libraries import missing_libraries_are_named
from actprof.policies.precision import autocast_of
from actprof.policies.spec import PolicySpec
from actprof.quiet import quiet_imports


@dataclass(slots=True)
class Workload:
    """One training run, ready to step: policy, optimizer and pre-processor are lerobot's own, on the device.

    `accelerator` stands where lerobot has accelerate's; `batch_stream` gives batches without end; `average`
    holds the moving average of the parameters (diffusers' `EMAModel`, a clone of each) where there is one;
    `ddp` is what stands where DistributedDataParallel wraps the policy.
    """

    cell: Cell
    config: Any
    policy: Any
    optimizer: torch.optim.Optimizer
    preprocessor: Any
    accelerator: StepAccelerator
    grad_clip_norm: float
    batch_stream: Iterator[dict[str, Any]]
    metrics: Any
    batch: dict[str, Any] = field(default_factory=dict)
    average: list[torch.Tensor] = field(default_factory=list)
    ddp: DataParallel | None = None

    def step(self, phase: PhaseContext = no_phase) -> None:
        """Run one iteration of lerobot's training loop: fetch and normalise a batch, update the policy.

        The lines before `update_policy` are those of the loop in `lerobot.scripts.lerobot_train.train`;
        like there, the previous batch stays alive until the next one is on the device.
        """
        with another_lerobot_is_named():
            from lerobot.scripts.lerobot_train import update_policy

        batches_a_step = self.cell.accumulate
        for number in range(batches_a_step):
            with phase("more data" if number else "data"):
                self.batch = next(self.batch_stream)
                for key in camera_keys(self.cell):
                    if self.batch[key].dtype == torch.uint8:
                        self.batch[key] = self.batch[key].to(dtype=torch.float32) / 255.0
                self.batch = self.preprocessor(self.batch)
            with (
                phase("update"),
                self.accelerator.accumulating(number, batches_a_step),
                another_lerobot_is_named(),
            ):
                update_policy(
                    self.metrics, self.policy, self.batch, self.optimizer, self.grad_clip_norm,
                    self.accelerator,
                )  # fmt: skip


def import_lerobot(policy: str) -> None:
    """Import what a step of `policy` needs before anybody records or times it: some imports make tensors."""
    with quiet_imports(), suppress(ImportError):  # `build_workload` says what is missing
        import lerobot.scripts.lerobot_train  # noqa: F401
        from lerobot.policies.factory import get_policy_class

        get_policy_class(policy)


def build_workload(
    cell: Cell, device: torch.device, *, accelerator: StepAccelerator | None = None
) -> Workload:
    """Build the workload of `cell` on `device` in the order in which `lerobot-train` does.

    Raises:
        UsageError: lerobot refuses the policy's config (the message is lerobot's own), or a change of the
            cell does not fit the policy.
    """
    spec = policy_spec(cell.policy)
    if spec.needs_state and not cell.state_dim:
        raise UsageError(
            f"lerobot's {cell.policy} asks every batch for observation.state; give a state_dim above 0"
        )
    accelerator = accelerator or StepAccelerator(device_type=device.type)
    with another_lerobot_is_named(), quiet_imports(), missing_libraries_are_named(cell):
        from lerobot.policies.factory import make_policy, make_pre_post_processors

    with quiet_imports(), missing_libraries_are_named(cell), outside_answered(cell, spec):
        config = policy_config(cell)
        config.device = device.type
        meta = dataset_meta(cell, rewards=asks_for_rewards(config))
        with refusals_are_usage_errors(cell.overrides, lambda: _fewer_cameras(cell)):
            policy = make_policy(config, ds_meta=meta)
            change_policy(policy, cell.changes, spec=spec, backward=accelerator.backward)
            if cell.peft:
                policy = with_adapter(policy, cell.peft)
        # lerobot asks whether the device is there before it names it in the pipeline.
        with mock.patch.object(torch.cuda, "is_available", lambda: device.type == "cuda"):
            preprocessor, _ = make_pre_post_processors(config, dataset_stats=meta.stats)
    with refusals_are_usage_errors():
        optimizer, grad_clip_norm = _build_optimizer(cell, config, policy)
    change_optimizer(optimizer, cell.changes)
    policy.train()
    precision = autocast_of(cell)
    if cell.strategy == "fsdp":
        shard(cell, policy, optimizer, precision=precision)
    accelerator.prepare(policy, optimizer, precision=precision)
    ddp = DataParallel(cell, policy, lambda: accelerator.sync_gradients) if cell.strategy == "ddp" else None
    with another_lerobot_is_named():
        batch_stream = batches(cell, config, device)
    return Workload(
        cell=cell,
        config=config,
        policy=policy,
        optimizer=optimizer,
        preprocessor=preprocessor,
        accelerator=accelerator,
        grad_clip_norm=grad_clip_norm,
        batch_stream=batch_stream,
        metrics=_metrics(cell),
        average=[p.detach().clone() for p in policy.parameters()] if cell.ema else [],
        ddp=ddp,
    )


@contextmanager
def outside_answered(cell: Cell, spec: PolicySpec) -> Iterator[None]:
    """Inside, nothing asks the Hub for a policy's models and tokenizers."""
    asks = spec.models or spec.reads_task
    with without_hub(cell, spec.models, spec.tokens) if asks else nullcontext(), spec.stand_ins(cell):
        yield


def policy_config(cell: Cell) -> Any:
    """Return the lerobot config of the cell's policy, with the overrides applied; no weights are fetched.

    Raises:
        UsageError: a field that the config does not have, or a value that it refuses.
    """
    with quiet_imports():
        from lerobot.policies.factory import make_policy_config

    overrides = {**cell.overrides, **policy_spec(cell.policy).fixed}
    if overrides.get("pretrained_path"):
        raise UsageError("actprof loads no weights, and they change no size; leave out pretrained_path")
    plain = make_policy_config(cell.policy, device="cpu")
    known = get_type_hints(type(plain))
    for name, value in overrides.items():
        is_switch = isinstance(getattr(plain, name, None), bool)  # of ACT one is declared as a number
        hints = {**known, name: bool | known[name]} if is_switch else known
        if problem := field_problem(cell.policy, name, value, hints):
            raise FieldError(problem, name)

    def made(**more: Any) -> Any:
        # The device is pretended so that the config does not quietly drop what only a GPU can do (AMP).
        with mock.patch.object(torch.cuda, "is_available", lambda: True):
            return make_policy_config(cell.policy, **{"device": "cuda", **overrides, **more})

    with refusals_are_usage_errors(overrides, lambda: _shorter_run(made, overrides)):
        return made()


def _shorter_run(made: Callable[..., Any], overrides: Mapping[str, Any]) -> str:
    """Return what to add where a chunk is shorter than the actions that are run of it; else nothing."""
    chunk = overrides.get("chunk_size")
    if chunk is None or "n_action_steps" in overrides:
        return ""
    with suppress(*_REFUSALS):
        made(n_action_steps=chunk)
        return f"; add --set n_action_steps={chunk}"
    return ""


def _fewer_cameras(cell: Cell) -> str:
    """Return what to add for a policy that takes one camera; else nothing."""
    return "; add --cameras 1" if cell.cameras > 1 and cell.policy in _ONE_CAMERA else ""


_ONE_CAMERA = ("vqbet", "tdmpc")
_FEATURES = re.compile(r" Got image keys \{.*\}")  # as Python shows them
_REFUSALS = (AssertionError, AttributeError, ImportError, NotImplementedError, TypeError, ValueError)


class refusals_are_usage_errors:  # noqa: N801 - reads as a sentence in a with statement
    """Turn lerobot's complaints about a config's values into `FieldError`.

    Args:
        overrides: those at fault if the complaint names none of them.
        hint: what to do about it, or nothing; asked for when it is needed.
    """

    def __init__(self, overrides: Iterable[str] = (), hint: Callable[[], str] = str) -> None:
        self._overrides = tuple(overrides)
        self._hint = hint

    def __enter__(self) -> None:
        """Nothing to set up."""

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _trace: object) -> None:
        """Re-raise what lerobot raises for a bad value, or for a library that is not installed."""
        if isinstance(error, _REFUSALS):
            told = _FEATURES.sub("", str(error)).removesuffix(".")
            said = f"lerobot refuses this policy: {told}{self._hint()}"
            named = [name for name in self._overrides if name in str(error)]
            raise FieldError(said, *(named or self._overrides)) from error


def _build_optimizer(cell: Cell, config: Any, policy: Any) -> tuple[torch.optim.Optimizer, float]:
    from lerobot.optim.optimizers import OptimizerConfig

    if cell.optimizer in ("preset", "adamw_8bit"):
        preset, params = config.get_optimizer_preset(), policy.get_optim_params()
    else:
        preset, params = OptimizerConfig.get_known_choices()[cell.optimizer](), policy.parameters()
    optimizer = build_8_bit(preset, params) if cell.optimizer == "adamw_8bit" else preset.build(params)
    if not isinstance(optimizer, torch.optim.Optimizer):
        raise UsageError(
            f"the optimizer {cell.optimizer!r} needs parameter groups that actprof does not know"
        )
    return optimizer, preset.grad_clip_norm


def _metrics(cell: Cell) -> Any:
    from lerobot.utils.logging_utils import AverageMeter, MetricsTracker

    meters = {name: AverageMeter(name) for name in ("loss", "grad_norm", "lr", "update_s", "gpu_mem_gb")}
    return MetricsTracker(cell.batch_size, 1, 1, meters)
