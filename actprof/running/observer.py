"""Who listens while a command runs: the log, the card, one line after the first lines and one at the end.

Nothing that goes wrong here may reach the run: an error is told once, and then nobody listens any more.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

from actprof.errors import StoreError
from actprof.hardware import LocalGpu
from actprof.measurement import CardUse, Measurement
from actprof.results import Result
from actprof.running.measured import cell_here, device_facts, limit_now, measured_result
from actprof.running.passthrough import Ended
from actprof.running.plan import Plan
from actprof.running.sentences import summary_line
from actprof.running.summary import FILE_NAME, MOST_LINES, RunSummary
from actprof.running.training_log import Lines, TrainingLog

_TELLS_AFTER = 2  # lines: in the steps of the first everything starts
_KEEPS_EVERY = 60.0  # seconds
_HOUR = 3600.0


@dataclass(kw_only=True)
class Observer:
    """Listens to one run.

    Args:
        plan: what is run.
        gpu: the card that it takes; None without CUDA.
        versions: of the libraries that it runs with.
        look: returns what NVML has seen of the card.
        say: prints a line.
        summary: the file; in the run's output folder if left out.
        clock: in tests.
    """

    plan: Plan
    gpu: LocalGpu | None = None
    versions: Mapping[str, str] = field(default_factory=dict)
    look: Callable[[], CardUse | None] = lambda: None
    say: Callable[[str], None]
    summary: Path | None = None
    clock: Callable[[], float] = time.monotonic

    def __post_init__(self) -> None:
        """Begin with nothing heard."""
        self.log = TrainingLog()
        self._lines = {1: Lines(), 2: Lines()}
        self._date = datetime.now(UTC).isoformat(timespec="seconds")
        self._began = self._kept_at = self.clock()
        self._told = self._deaf = False

    def hear(self, target: int, piece: bytes) -> None:
        """Take a piece of what the command prints."""
        if self._deaf:
            return
        try:
            found = [self.log.take(text, self._now()) for text in self._lines[target].take(piece)]
            if any(found):
                self._heard_a_line()
        except Exception as error:  # noqa: BLE001 - whatever it is, it must not end somebody's training
            self._deaf = True
            self.say(f"actprof: cannot read this run's log any more ({error!r}); the run goes on")

    def end(self, ended: Ended) -> RunSummary:
        """Say the last line, write the summary, and return it."""
        with suppress(Exception):  # what was heard until then counts
            for lines in self._lines.values():
                for text in lines.last():
                    self.log.take(text, self._now())
        found = self.summarise(ended)
        self.say(f"actprof: {summary_line(found)}")
        path = self._path()
        try:
            found.write(path)
            self.say(f"actprof: wrote {path}")
        except StoreError as error:
            self.say(f"actprof: {error}")
        return found

    def summarise(self, ended: Ended | None = None) -> RunSummary:
        """Return what is known of the run by now."""
        log, code = self.log, None if ended is None else ended.code
        predicted = self._predicted
        card = self.look()
        on_cuda = self._on_cuda
        measurement = Measurement(
            resident_bytes=0 if ended is None else ended.resident_bytes,
            card=card if on_cuda else None,
            command=self.plan.words.text,
            date=self._date,
        )
        each = log.seconds_per_step
        left = max(log.steps - log.step, 0)
        return RunSummary(
            command=self.plan.words.text,
            changed=self.plan.changed,
            exit_code=code,
            step=log.step,
            steps=log.steps,
            predicted=predicted,
            measured=predicted and self._measured(predicted, measurement, code),
            without_cuda="" if on_cuda else self.plan.without_cuda or f"this run is on {log.device!r}",
            limited_by=limit_now(log, card, predicted, on_cuda=on_cuda),
            seconds_per_step=each,
            hours_left=None if ended is not None or each is None or not left else left * each / _HOUR,
            lines=tuple(log.lines[-MOST_LINES:]),
            date=self._date,
            versions=self.versions,
        )  # fmt: skip

    def _measured(self, predicted: Result, measurement: Measurement, code: int | None) -> Result:
        gpu = self.gpu if self._on_cuda else None
        device = device_facts(gpu, predicted.gpu.name if self._on_cuda else "")
        there = replace(predicted, cell=cell_here(predicted.cell, gpu))
        return measured_result(there, self.log, measurement, code=code, device=device)

    @property
    def _predicted(self) -> Result | None:
        """The prediction of the batch size that lerobot says it has, if it is the pre-flight's."""
        answer = self.plan.answer
        result = None if answer is None else answer.result
        if answer is None or result is None or not result.peak_allocated_bytes:
            return None
        return result if self.log.settings.get("batch_size") in (None, answer.run.batch_size) else None

    @property
    def _on_cuda(self) -> bool:
        if any(line.memory_bytes is not None for line in self.log.lines):
            return True
        return self.log.device.startswith("cuda") if self.log.device else not self.plan.without_cuda

    def _heard_a_line(self) -> None:
        if len(self.log.lines) >= _TELLS_AFTER and not self._told:
            self._told = True
            self.say(f"actprof: {summary_line(self.summarise())}")
            self._kept_at = float("-inf")
        if self.clock() - self._kept_at >= _KEEPS_EVERY:
            self._kept_at = self.clock()
            folder = self._output_dir
            if self.summary is not None or (folder is not None and folder.is_dir()):
                with suppress(StoreError):  # told at the end
                    self.summarise().write(self._path())

    def _path(self) -> Path:
        """Return the file of the summary: beside the output folder while that is not there.

        lerobot refuses a run whose folder is there already, so that it must not be made for this file.
        """
        if self.summary is not None:
            return self.summary
        folder = self._output_dir
        if folder is None:
            return Path(FILE_NAME)
        return folder / FILE_NAME if folder.is_dir() else folder.with_name(f"{folder.name}.{FILE_NAME}")

    @property
    def _output_dir(self) -> Path | None:
        """The run's output folder, by its log, else by its command; None where it is not told."""
        told = None if self.plan.answer is None else self.plan.answer.run.output_dir
        return self.log.output_dir or (Path(told) if told else None)

    def _now(self) -> float:
        return round(self.clock() - self._began, 3)
