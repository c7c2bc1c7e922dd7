"""Measure one cell: choose the device, run it in a process of its own, watch the card, judge."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from actprof.allocator import AllocatorConfig
from actprof.allocator.profile import MemoryProfile
from actprof.analysis.judge import judge
from actprof.errors import UsageError
from actprof.hardware import Catalogue, Gpu, builtin_catalogue
from actprof.measure.choose import TORCH_SHARE, Choice, identify
from actprof.measure.launch import TIMEOUT_SECONDS, WorkerError, run_worker
from actprof.measure.measurement import CardUse, DeviceFacts, Measurement, StepMemory
from actprof.measure.request import Answer, Request
from actprof.measure.watch import CardWatch
from actprof.results import MEASURED, GpuUse, Result
from actprof.scenario.cell import Cell
from actprof.versions import library_versions

Launcher = Callable[..., Answer]


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """How cells are measured.

    Attributes:
        choice: the device.
        catalogue: where the cells' GPUs are described.
        timeout: seconds for one process.
        steps: exactly so many steps; None lets the time decide.
        progress: told what is happening.
        command: what repeats the measurement, for the record.
        launcher, watcher: start a process, watch the card; tests have stand-ins.
    """

    choice: Choice
    catalogue: Catalogue = field(default_factory=builtin_catalogue)
    timeout: float = TIMEOUT_SECONDS
    steps: int | None = None
    progress: Callable[[str], None] | None = None
    command: str = ""
    launcher: Launcher = run_worker
    watcher: Callable[..., AbstractContextManager[Any]] = CardWatch

    def measure(self, cell: Cell) -> Result:
        """Run `cell`; a run that fails has the verdict `error` and the reason.

        Raises:
            UsageError: lerobot refuses the policy's config.
        """
        request = self._request(cell)
        try:
            answer, card = self._launch(request)
        except WorkerError as error:
            return self._failed(cell, error)
        return self._result(cell, answer, card)

    def snapshot(self, cell: Cell, path: Path) -> None:
        """Leave a memory snapshot of a few steps from an empty allocator in `path`.

        Raises:
            UsageError: there is no CUDA GPU to record.
            WorkerError: the run failed.
        """
        self.check_cuda("--snapshot")
        request = replace(
            self._request(cell), purpose="snapshot", snapshot=str(path.absolute()), steps=_SNAPSHOT_STEPS
        )
        self._launch(request)

    def lines(self, cell: Cell) -> str:
        """Return a table of memory by source line of the policy's forward.

        Raises:
            UsageError: there is no CUDA GPU to profile.
            WorkerError: the run failed.
        """
        self.check_cuda("--lines")
        return self._launch(replace(self._request(cell), purpose="lines"))[0].text

    def check_cuda(self, option: str) -> None:
        """Raise `UsageError` when `option` is asked for without a CUDA GPU."""
        if self.choice.type != "cuda":
            raise UsageError(f"{option} needs a CUDA GPU: {self.choice.reason}")

    def _request(self, cell: Cell) -> Request:
        gpu = self.choice.gpu
        return Request(
            cell=cell,
            device_type=self.choice.type,
            index=gpu.index if gpu else 0,
            driver=gpu.driver if gpu else "",
            cap_bytes=self.choice.cap_bytes,
            steps=self.steps,
        )

    def _launch(self, request: Request) -> tuple[Answer, CardUse | None]:
        pids: list[int] = []
        gpu = self.choice.gpu
        watch = nullcontext() if gpu is None else self.watcher(gpu.index, lambda: pids[-1] if pids else None)
        with watch as watching:
            answer = self.launcher(
                request,
                environment=self._environment(request.cell),
                timeout=self.timeout,
                progress=self.progress,
                started=pids.append,
            )
        return answer, watching.use() if watching is not None else None

    def _environment(self, cell: Cell) -> dict[str, str]:
        """Return what the process reads before torch is there."""
        # both names of the allocator's settings count
        environment = {"PYTORCH_CUDA_ALLOC_CONF": cell.alloc_conf, "PYTORCH_ALLOC_CONF": cell.alloc_conf}
        environment["COLUMNS"] = str(shutil.get_terminal_size().columns)
        if self.choice.gpu is None:
            return {**environment, "CUDA_VISIBLE_DEVICES": ""}
        environment["CUDA_VISIBLE_DEVICES"] = self.choice.gpu.uuid or str(self.choice.gpu.index)
        environment["CUDA_DEVICE_ORDER"] = "PCI_BUS_ID"  # NVML's, for an index
        if self.choice.workspace_config:
            environment["CUBLAS_WORKSPACE_CONFIG"] = self.choice.workspace_config
        return environment

    # -- what came out ---------------------------------------------------------------------------------

    def _base(self, cell: Cell) -> Result:
        capacity = cell.capacity_bytes or (self._gpu(cell).capacity_bytes if cell.gpu else 0)
        local = self.choice.gpu
        name = cell.gpu or (local.name if local else "CPU")
        context = self._gpu(cell).context_bytes if cell.gpu else 0
        return Result(
            source=MEASURED,
            cell=cell,
            gpu=GpuUse(
                name=name,
                capacity_bytes=capacity or (local.total_bytes if local else 0),
                context_bytes=context,
            ),
            versions=library_versions(),
            assumptions=self._assumptions(cell),
        )

    def _assumptions(self, cell: Cell) -> tuple[str, ...]:
        expandable = AllocatorConfig.parse(cell.alloc_conf).expandable_segments
        held = expandable and self.choice.cap_bytes is not None
        return (self.choice.reason, _EXPANDABLE) if held else (self.choice.reason,)

    def _gpu(self, cell: Cell) -> Gpu:
        return self.catalogue.find(cell.gpu or "")

    def _failed(self, cell: Cell, error: WorkerError) -> Result:
        measurement = Measurement(
            stderr=error.stderr, command=self.command, date=_now(), cap_bytes=self.choice.cap_bytes
        )
        device, gpu = None, self.choice.gpu
        if gpu is not None:
            device = DeviceFacts(
                type="cuda", name=gpu.name, index=gpu.index, total_bytes=gpu.total_bytes, driver=gpu.driver
            )
        return replace(
            self._base(cell), verdict="error", reason=error.reason, measurement=measurement, device=device
        )

    def _result(self, cell: Cell, answer: Answer, card: CardUse | None) -> Result:
        measurement = replace(answer.measurement, card=card, command=self.command, date=_now())
        if answer.oom is None:
            measurement = replace(measurement, context_bytes=_context_bytes(measurement, card))
        base = self._base(cell)
        speed = cell.batch_size / answer.step_seconds.median if answer.step_seconds else None
        result = replace(
            base,
            parameters=answer.parameters,
            encoder_tokens=answer.encoder_tokens,
            oom=answer.oom,
            device=answer.device,
            step_seconds=answer.step_seconds,
            samples_per_second=speed,
            measurement=measurement,
        )
        if answer.device.type == "cpu":
            return replace(
                result,
                peak_allocated_bytes=measurement.live_tensor_bytes,
                peak_process_bytes=measurement.resident_bytes,
                reason="it ran on the CPU, which says nothing about a GPU's memory",
            )
        return _judged(result, measurement, answer.device, playing=measurement.cap_bytes is not None)


_SNAPSHOT_STEPS = 3
_LEAST_SETTLED = 2
_EXPANDABLE = (
    "with expandable segments PyTorch tests a cap for the whole request, also where a segment that is there "
    "would have to grow by a part of it: it may run out a little earlier than on the card that is played"
)


def on_this_card(cell: Cell, choice: Choice, catalogue: Catalogue) -> Cell:
    """Return the cell with the card that was chosen for it, where it asked for none in particular."""
    if choice.gpu is None or cell.gpu is not None or cell.capacity_bytes is not None:
        return cell
    card = identify(choice.gpu, catalogue)
    if card is not None:
        return replace(cell, gpu=card.name)
    return replace(cell, capacity_bytes=int(TORCH_SHARE * choice.gpu.total_bytes))


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _judged(result: Result, measurement: Measurement, device: DeviceFacts, *, playing: bool) -> Result:
    """Return the result with its memory and verdict."""
    card, oom = measurement.card, result.oom
    settled = _settled(measurement)
    reserved = settled[-1].peak_reserved_bytes if settled else 0
    # a card that plays another has a context of its own, which is not what the cap leaves room for
    context = result.gpu.context_bytes if playing else measurement.context_bytes or result.gpu.context_bytes
    capacity = result.gpu.capacity_bytes if playing else device.total_bytes
    others = result.cell.used_by_others_bytes if playing or card is None else card.others_bytes
    available = max(capacity - context - others, 0)
    if measurement.cap_bytes is not None:
        available = measurement.cap_bytes
    most = max((step.peak_reserved_bytes for step in settled), default=0)
    retries = sum(step.retries for step in settled)
    profile = MemoryProfile(
        batch_size=result.cell.batch_size,
        steps=len(settled),
        peak_allocated_bytes=settled[-1].peak_allocated_bytes if settled else 0,
        peak_reserved_bytes=reserved,
        most_reserved_bytes=max(most, 0 if oom is None else oom.reserved_bytes + oom.segment_bytes),
        peak_requested_bytes=0,
        retries=retries if oom is None else measurement.allocator_retries,
        oom=oom,
    )
    verdict = judge(profile, profile, capacity_bytes=capacity, available_bytes=available)
    return replace(
        result,
        gpu=replace(result.gpu, capacity_bytes=capacity, context_bytes=context),
        peak_allocated_bytes=profile.peak_allocated_bytes,
        peak_reserved_bytes=reserved,
        peak_process_bytes=reserved + context,
        verdict=verdict.name,
        reason=verdict.reason,
        headroom_bytes=verdict.headroom_bytes,
        retries=profile.retries,
    )


def _settled(measurement: Measurement) -> tuple[StepMemory, ...]:
    """Return the steps that are judged: without the first one where cuDNN tries its plans in it.

    A plan that finds no room flushes the cache and fills the card, but cuDNN takes another one: as in a
    prediction, that says nothing of the run. The spike and the flushes of the whole run are told apart.
    """
    steps = measurement.step_memory
    return steps[1:] if measurement.cudnn_benchmark and len(steps) > 1 else steps


def _context_bytes(measurement: Measurement, card: CardUse | None) -> int:
    """Return what the process held beside its segments at the end; 0 where that cannot be told.

    The last look at the card was in the last steps, when the reserved bytes stood at their peak: not so where
    the run flushed its cache, nor in the first step.
    """
    settled = _settled(measurement)
    if card is None or len(settled) < _LEAST_SETTLED or any(step.retries for step in settled):
        return 0
    return max(card.last_bytes - settled[-1].peak_reserved_bytes, 0)
