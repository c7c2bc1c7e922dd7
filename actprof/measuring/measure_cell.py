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
from actprof.cell import Cell
from actprof.errors import StoreError, UsageError
from actprof.hardware import Catalogue, builtin_catalogue
from actprof.measurement import CardUse, DeviceFacts, Measurement
from actprof.measuring.choose_device import Choice
from actprof.measuring.grounding import why_not_on_cpu
from actprof.measuring.judge_run import context_bytes, judge_run
from actprof.measuring.request import Answer, Request
from actprof.measuring.watch_card import CardWatch
from actprof.measuring.worker import run_worker
from actprof.prediction.predict import device_of
from actprof.processes.worker import TIMEOUT_SECONDS, Conditions, WorkerError
from actprof.progress import Listener, nobody
from actprof.results import MEASURED, GpuUse, Result, Verdict
from actprof.versions import library_versions

Launcher = Callable[[Request, Conditions], Answer]
# A size that survives one step and dies in the fifth is not a size that fits.
STEPS = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """How cells are measured: on which device, for at most how many seconds, for exactly how many steps.

    Without `steps` the time decides. `listener` is told what is happening; `command` is what repeats the
    measurement, for the record. With `memory_only` a run takes ten steps and no times. One that `shares` its
    GPU with others is told nothing of the card, whose totals are not its own. Tests have stand-ins for
    `launcher` and `watcher`.
    """

    choice: Choice
    catalogue: Catalogue = field(default_factory=builtin_catalogue)
    timeout: float = TIMEOUT_SECONDS
    steps: int | None = None
    listener: Listener = nobody
    command: str = ""
    memory_only: bool = False
    shares: bool = False
    launcher: Launcher = run_worker
    watcher: Callable[..., AbstractContextManager[Any]] = CardWatch

    def measure(self, cell: Cell) -> Result:
        """Run `cell`; a run that fails has the verdict `error` and the reason.

        Raises:
            UsageError: lerobot refuses the policy's config, or the policy is too large for the CPU.
        """
        if self.choice.type == "cpu" and (why := why_not_on_cpu(cell.policy)):
            raise UsageError(
                f"{why}; measure it on a CUDA GPU ({self.choice.reason}), or predict it without one: "
                f"actprof predict --policy {cell.policy}"
            )
        request = self._request(cell)
        try:
            answer, card = self._launch(request)
        except WorkerError as error:
            return self._failed(cell, error)
        return self._result(cell, answer, card)

    def snapshot(self, cell: Cell, path: Path) -> None:
        """Leave a memory snapshot of a few steps from an empty allocator in `path`, whole or not at all.

        Raises:
            UsageError: there is no CUDA GPU to record.
            WorkerError: the run failed.
            StoreError: the file cannot be written.
        """
        self.check_cuda("--snapshot")
        unfinished = path.absolute().with_name(f".{path.name}.unfinished")
        request = replace(
            self._request(cell), purpose="snapshot", snapshot=str(unfinished), steps=_SNAPSHOT_STEPS
        )
        try:
            self._launch(request)
            unfinished.replace(path)
        except OSError as error:
            raise StoreError(f"{path} cannot be written ({error.strerror or error})") from error
        finally:
            unfinished.unlink(missing_ok=True)

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
            cap_bytes=self._cap_bytes(cell),
            steps=STEPS if self.memory_only else self.steps,
        )

    def _cap_bytes(self, cell: Cell) -> int | None:
        """Return the cap that plays the cell's card, under the cell's own `per_process_memory_fraction`.

        PyTorch has one limit: setting the cap would replace that of the settings.
        """
        cap = self.choice.cap_bytes
        if cap is None:
            return None
        return AllocatorConfig.parse(cell.alloc_conf).capped_bytes(cap, self._use(cell).capacity_bytes)

    def _launch(self, request: Request) -> tuple[Answer, CardUse | None]:
        pids: list[int] = []
        gpu = self.choice.gpu
        watch: AbstractContextManager[Any] = nullcontext()
        if gpu is not None and not self.shares:
            watch = self.watcher(gpu.index, lambda: pids[-1] if pids else None)
        with watch as watching:
            conditions = Conditions(
                environment=self._environment(request.cell),
                timeout=self.timeout,
                listener=self.listener,
                started=pids.append,
            )
            if watching is not None:
                conditions = replace(conditions, answered=watching.stop)
            answer = self.launcher(request, conditions)
        return answer, watching.use() if watching is not None else None

    def _environment(self, cell: Cell) -> dict[str, str | None]:
        """Return what the process reads before torch is there: the cell's settings, not the shell's."""
        environment: dict[str, str | None] = dict.fromkeys(_NOT_THE_CELLS)
        # both names of the allocator's settings count
        environment |= {"PYTORCH_CUDA_ALLOC_CONF": cell.alloc_conf, "PYTORCH_ALLOC_CONF": cell.alloc_conf}
        environment["COLUMNS"] = str(shutil.get_terminal_size().columns)
        environment |= self.choice.shown
        if self.choice.workspace_config:
            environment["CUBLAS_WORKSPACE_CONFIG"] = self.choice.workspace_config
        return environment

    # -- what came out ---------------------------------------------------------------------------------

    def _base(self, cell: Cell) -> Result:
        return Result(
            source=MEASURED,
            cell=cell,
            gpu=self._use(cell),
            versions=library_versions(),
            assumptions=self._assumptions(cell),
        )

    def _use(self, cell: Cell) -> GpuUse:
        """Return the memory that the cell's card has, or the device that is here."""
        if cell.gpu is not None:
            return device_of(cell, self.catalogue).use
        local = self.choice.gpu
        capacity = cell.capacity_bytes or (local.total_bytes if local else 0)
        return GpuUse(name=local.name if local else "CPU", capacity_bytes=capacity, context_bytes=0)

    def _assumptions(self, cell: Cell) -> tuple[str, ...]:
        config = AllocatorConfig.parse(cell.alloc_conf)
        told = [self.choice.reason, *([_SHARED] if self.shares else [_UNTIMED] if self.memory_only else [])]
        told += [_PRETENDED.format(cell.world_size)] if cell.world_size > 1 else []
        if self.choice.cap_bytes is None:
            return tuple(told)
        collects = config.garbage_collection_threshold and config.per_process_memory_fraction is None
        told += [_EXPANDABLE] if config.expandable_segments else []
        return (*told, *((_COLLECTION,) if collects else ()))

    def _failed(self, cell: Cell, error: WorkerError) -> Result:
        measurement = Measurement(
            stderr=error.stderr, command=self.command, date=_now(), cap_bytes=self._cap_bytes(cell)
        )
        gpu = self.choice.gpu
        device = (
            None
            if gpu is None
            else DeviceFacts(
                type="cuda", name=gpu.name, index=gpu.index, total_bytes=gpu.total_bytes, driver=gpu.driver
            )
        )
        failed = replace(self._base(cell), verdict=Verdict.FAILED, reason=error.reason)
        return replace(failed, measurement=measurement, device=device)

    def _result(self, cell: Cell, answer: Answer, card: CardUse | None) -> Result:
        if self.memory_only:
            answer = _without_times(answer)
        measurement = replace(answer.measurement, card=card, command=self.command, date=_now())
        if answer.oom is None:
            measurement = replace(measurement, context_bytes=context_bytes(measurement, card))
        base = self._base(cell)
        speed = cell.global_samples / answer.step_seconds.median if answer.step_seconds else None
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
                reason=f"it ran on the CPU ({self.choice.reason}), which says nothing about a GPU's memory",
            )
        return judge_run(result, measurement, answer.device)


_SNAPSHOT_STEPS = 3
_UNTIMED = "memory only was asked for, so that no times were taken"
_SHARED = f"{_UNTIMED}, and other runs were on the GPU meanwhile"
_EXPANDABLE = (
    "with expandable segments PyTorch tests a cap for the whole request, also where a segment that is there "
    "would have to grow by a part of it: it may run out a little earlier than on the card that is played"
)
_PRETENDED = (
    "one device ran as each of {} GPUs would, the others are pretended: nothing is sent, NCCL takes no "
    "memory, and no step waits for them"
)
_COLLECTION = (
    "garbage_collection_threshold counts from the cap here, while the card that is played, which has none, "
    "collects nothing: cached segments are given back that it would keep"
)
# What decides of memory beside the cell: what a shell has set would be measured, but not predicted.
_NOT_THE_CELLS = (
    "CUBLAS_WORKSPACE_CONFIG", "CUBLASLT_WORKSPACE_SIZE", "TORCH_CUBLASLT_UNIFIED_WORKSPACE",
    "CUDNN_CONV_WSCAP_DBG", "PYTORCH_NO_CUDA_MEMORY_CACHING",
)  # fmt: skip


def _without_times(answer: Answer) -> Answer:
    measurement = replace(
        answer.measurement,
        data_seconds=None,
        forward_seconds=None,
        backward_seconds=None,
        optimizer_seconds=None,
    )
    return replace(answer, step_seconds=None, measurement=measurement)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
