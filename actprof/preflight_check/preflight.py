"""The answer to a command: a plain record."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from actprof.advice.suggest import Remedy
from actprof.policies.facts import PolicyFacts
from actprof.preflight_check.duration import Duration
from actprof.preflight_check.find_gpu import RunGpu
from actprof.preflight_check.host_memory import HostNeed
from actprof.preflight_check.policy_inputs import Inputs
from actprof.preflight_check.training_run import TrainingRun
from actprof.preflight_check.trap import Trap
from actprof.records import to_plain
from actprof.results import Result, Verdict
from actprof.training_command.command_line import CommandLine
from actprof.training_command.launcher import AllocatorSettings, Launch


@dataclass(frozen=True, slots=True, kw_only=True)
class Preflight:
    """The answer to: does this command run?

    Attributes:
        result: the prediction, with this verdict; None where there is nothing to predict.
        inputs, gpu: None where the policy is not known.
        facts: what the traced policy says of itself; None where nothing was traced.
        settings: the allocator's, as the run gets them.
        assumptions: what is taken for granted beside the prediction's own assumptions.
        remedies: where the run does not simply fit.
        duration: of all steps; None where the speed is not known.
        host: what the run takes of its machine's own memory; None where nothing is predicted.
    """

    verdict: Verdict = Verdict.UNKNOWN
    reason: str
    command: CommandLine
    run: TrainingRun
    launch: Launch
    result: Result | None = None
    inputs: Inputs | None = None
    gpu: RunGpu | None = None
    facts: PolicyFacts | None = None
    settings: AllocatorSettings = field(default_factory=AllocatorSettings)
    assumptions: tuple[str, ...] = ()
    traps: tuple[Trap, ...] = ()
    remedies: tuple[Remedy, ...] = ()
    duration: Duration | None = None
    host: HostNeed | None = None

    @property
    def exit_code(self) -> int:
        """0 fits or tight, 1 runs out of memory, 2 lerobot stops before that, 3 cannot be told."""
        if self.stops or self.verdict.runs:
            return 2 if self.stops else 0
        return 1 if self.verdict == Verdict.OOM else 3

    @property
    def stops(self) -> tuple[Trap, ...]:
        """The traps with which lerobot stops before the first step."""
        return tuple(trap for trap in self.traps if trap.stops)

    def to_json(self) -> dict[str, Any]:
        """Return one object: the result's fields, and command, dataset, gpu, traps and remedies."""
        data = {} if self.result is None else self.result.to_json(curve=False)
        gpu = {**data.get("gpu", {}), **({} if self.gpu is None else to_plain(self.gpu))}
        return {
            **data,
            "verdict": self.verdict,
            "reason": self.reason,
            "cell": data.get("cell"),
            "command": {**to_plain(self.command), "run": to_plain(self.run), "launch": to_plain(self.launch)},
            "dataset": to_plain(self.inputs),
            "gpu": gpu or None,
            "alloc_conf_from": self.settings.variable,
            "traps": to_plain(self.traps),
            "remedies": [_remedy(remedy) for remedy in self.remedies],
            "duration": to_plain(self.duration),
            "host_memory": to_plain(self.host),
        }


def _remedy(remedy: Remedy) -> dict[str, Any]:
    data = remedy.to_json()
    said = {name: data[name] for name in ("name", "title", "kind", "flags", "environment", "code", "note")}
    kept = ("verdict", "peak_process_bytes", "headroom_bytes", "max_batch_size")
    return said | {when: {name: data[when][name] for name in kept} for when in ("before", "after")}
