"""What only some releases of lerobot do with a command: refuse it, or read past a part of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from actprof.policies.lerobot_versions import lerobot_version
from actprof.preflight_check.training_run import TrainingRun
from actprof.preflight_check.trap import Trap
from actprof.training_command.launcher import Launch

# `guard_against_env_interference` in lerobot/distributed/factory.py of 0.6.2.
_GUARDED = (
    "ACCELERATE_USE_FSDP", "ACCELERATE_USE_PARALLELISM_CONFIG", "ACCELERATE_GRADIENT_ACCUMULATION_STEPS",
)  # fmt: skip
_ALLOWED = "LEROBOT_ALLOW_ACCELERATE_ENV"


def release_traps(run: TrainingRun, launch: Launch, seen: Mapping[str, str]) -> Iterator[Trap]:
    """Yield what the release of lerobot that a run is read by makes of it, in the environment `seen`."""
    for sentence in run.left_out:
        yield Trap(
            "other_lerobot",
            f"{sentence}. The answer is that without it.",
            stops=True,
        )
    if run.amp_ignored:
        yield Trap(
            "use_amp_ignored",
            f"--policy.use_amp=true is ignored in training by lerobot {lerobot_version()}; {_precise(run)}.",
        )
    if run.precision:  # lerobot's own config of the accelerator
        yield from _of_accelerator(run, launch, seen)
    elif launch.sharing.strategy == "fsdp" and not launch.sharing.unsupported:
        yield Trap(
            "fsdp2_forward",
            f"FSDP2 stops in the first step with lerobot {lerobot_version()}: it calls policy.forward, past "
            "the hooks that gather parameters (torch says: got mixed torch.Tensor and DTensor). 0.6.2 "
            "shards by --parallelism.dp_shard=-1; DDP needs no change. The answer is that of 0.6.2.",
            stops=True,
        )


def _multiplies(run: TrainingRun, processes: int | None) -> bool:
    """Tell whether the degrees of a run multiply to its processes (`ParallelismConfig.resolve`)."""
    if processes is None or (run.replicas, run.shards) == (1, 1):
        return True
    if run.shards == -1:
        return processes % run.replicas == 0
    return run.replicas * run.shards == processes


def _precise(run: TrainingRun) -> str:
    if run.precision:
        return "say --accelerator.mixed_precision=bf16"
    return "start with `accelerate launch --mixed_precision=bf16`"


def _of_accelerator(run: TrainingRun, launch: Launch, seen: Mapping[str, str]) -> Iterator[Trap]:
    here = f"lerobot {lerobot_version()}"
    told = [name for name in _GUARDED if name in seen]
    if told and not seen.get(_ALLOWED):
        yield Trap(
            "accelerate_variables",
            f"{here} refuses to start with {', '.join(told)} in the environment; take it out and say it by "
            f"--parallelism.* and --accelerator.*, or set {_ALLOWED}=1.",
            stops=True,
        )
    if launch.precision not in ("fp32", run.precision):
        yield Trap(
            "precision_ignored",
            f"accelerate's mixed precision {launch.precision} is ignored: {here} goes by "
            f"--accelerator.mixed_precision alone; say --accelerator.mixed_precision={launch.precision}.",
        )
    if not _multiplies(run, launch.processes):
        wanted = run.replicas * max(run.shards, 1)
        named = {"dp_replicate": run.replicas, "dp_shard": run.shards}
        flags = " ".join(f"--parallelism.{name}={count}" for name, count in named.items() if count != 1)
        yield Trap(
            "parallelism",
            f"{flags} stops at once: {launch.processes} processes start. "
            f"Leave it out, or start {wanted} with torchrun --nproc_per_node={wanted}.",
            stops=True,
        )
    if run.ema and run.peft:
        yield Trap(
            "ema", "--ema.enable=true does not go together with an adapter; leave out one.", stops=True
        )
