"""lerobot's training log, read line by line as it is printed: what a step took, and what the run is.

Of lerobot 0.4.4 to 0.6.2 (`MetricsTracker` in utils/logging_utils.py, `train` in scripts/lerobot_train.py). A
line is the mean of the steps since the one before it, every `log_freq` steps:

    INFO 2026-08-23 10:00:00 ot_train.py:641 step:200 smpl:2K ep:3 epch:0.10 loss:6.701 grdn:150.2
    lr:1.0e-05 updt_s:0.182 data_s:0.003 smp/s:43 mem_gb:3.73

`mem_gb` is there from 0.6.0 on, on CUDA; `prep_s` and `step_s` from 0.6.2 on. `step:` is rounded (`2K`), so
that steps are counted by lines. Nothing here knows where the text comes from.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from actprof.units import GIB

MEMORY_RESOLUTION_BYTES = GIB // 200  # half a unit of the last digit of `mem_gb`
_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_LINE_ENDS = re.compile(rb"[\r\n]")
_LONGEST_LINE = 1 << 16
_STEP = re.compile(r"\bstep:(\d+(?:\.\d+)?)([KMBTQ]?) (?=.*\bupdt_s:)")
_METERS = re.compile(r"([\w/]+):(\d+(?:\.\d+)?)(?= |$)")
_BAR = re.compile(r"Training: +\d+%\|.*?\| *(\d+)/(\d+) \[")
# lerobot prints its config first, by `pformat`: one key a line, the outermost ones behind one blank.
_SETTING = re.compile(r"^(?: |\S[^{]*\{)'(\w+)': (\d+)[,}]")
_DEVICE = re.compile(r"'device': '(\w+)")
_OUTPUT = re.compile(r"Output dir: +(.+)")
_OUT_OF_MEMORY = re.compile(r"CUDA out of memory\. Tried to allocate.*")
_SCALE = {"": 1, "K": 1000, "M": 1000**2, "B": 1000**3, "T": 1000**4, "Q": 1000**5}


@dataclass(frozen=True, slots=True, kw_only=True)
class LogLine:
    """The means of one window of steps.

    Attributes:
        step: the last of them.
        at: seconds on the clock of who reads.
        update_seconds, data_seconds: `updt_s`, and `data_s` with `prep_s` where lerobot tells them apart.
        memory_bytes: `mem_gb`: the highest allocated bytes of a step; None where it is not logged.
    """

    step: int
    at: float
    update_seconds: float
    data_seconds: float = 0.0
    memory_bytes: int | None = None

    @property
    def step_seconds(self) -> float:
        """Of a whole step: waiting for its batch, and the update."""
        return self.update_seconds + self.data_seconds


def settled(lines: Sequence[LogLine]) -> Sequence[LogLine]:
    """Return the lines after the first, in whose steps everything starts; that one if it is alone."""
    return lines[1:] or lines


@dataclass(slots=True)
class TrainingLog:
    """What a run has said so far.

    Attributes:
        lines: of its log, as they came.
        settings: whole numbers of the outermost level of its config: `steps`, `log_freq`, `batch_size`, ….
        device: that the policy is on (`cpu`, `cuda`); empty while nobody has said.
        output_dir: as lerobot names it.
        out_of_memory: CUDA's message, where it was printed.
        bar: steps done and in all by the progress bar, which counts from where the run began.
        bar_began: steps done and the time at the first bar that shows one.
        bar_at: the time of the last.
    """

    lines: list[LogLine] = field(default_factory=list)
    settings: dict[str, int] = field(default_factory=dict)
    device: str = ""
    output_dir: Path | None = None
    out_of_memory: str = ""
    bar: tuple[int, int] = (0, 0)
    bar_began: tuple[int, float] | None = None
    bar_at: float = 0.0

    def take(self, text: str, at: float) -> bool:
        """Read one line that came at a time; tell whether it is one of the log's own."""
        text = _ESCAPES.sub("", text)
        for bar in _BAR.finditer(text):
            self._take_bar(int(bar[1]), int(bar[2]), at)
        if step := _STEP.search(text):
            self._take_meters(step, text[step.end() :], at)
            return True
        if found := _OUT_OF_MEMORY.search(text):
            self.out_of_memory = found[0].strip()
        elif found := _OUTPUT.search(text):
            self.output_dir = Path(found[1].strip())
        elif not self.lines:
            self.settings |= {name: int(number) for name, number in _SETTING.findall(text)}
            if not self.device and (found := _DEVICE.search(text)):
                self.device = found[1]
        return False

    @property
    def steps(self) -> int:
        """All steps of the run; 0 where nobody has said."""
        return self.settings.get("steps", 0) or self.bar[1]

    @property
    def step(self) -> int:
        """The last step that is known to be done."""
        return max(self.lines[-1].step if self.lines else 0, self._resumed_at + self.bar[0])

    @property
    def seconds_per_step(self) -> float | None:
        """Wall clock from one step to the next, checkpoints included; None with fewer than two points.

        By the progress bar, else by the lines.
        """
        if self.bar_began is not None and self.bar[0] > self.bar_began[0]:
            return (self.bar_at - self.bar_began[1]) / (self.bar[0] - self.bar_began[0])
        if len(self.lines) > 1:
            first, last = self.lines[0], self.lines[-1]
            return (last.at - first.at) / max(last.step - first.step, 1)
        return None

    @property
    def _resumed_at(self) -> int:
        return max(self.settings.get("steps", 0) - self.bar[1], 0) if self.bar[1] else 0

    def _take_bar(self, done: int, total: int, at: float) -> None:
        self.bar, self.bar_at = (done, total), at
        if done and self.bar_began is None:
            self.bar_began = done, at

    def _take_meters(self, step: re.Match[str], text: str, at: float) -> None:
        meters = {name: float(number) for name, number in _METERS.findall(text)}
        memory = meters.get("mem_gb")
        self.lines.append(
            LogLine(
                step=self._exact(float(step[1]), _SCALE[step[2]]),
                at=at,
                update_seconds=meters["updt_s"],
                data_seconds=round(meters.get("data_s", 0.0) + meters.get("prep_s", 0.0), 6),
                memory_bytes=None if memory is None else round(memory * GIB),
            )
        )

    def _exact(self, number: float, scale: int) -> int:
        """Return the step that is printed as `number` times `scale`, rounded to a whole one of it."""
        said, every = round(number * scale), self.settings.get("log_freq", 0)
        if scale == 1 or not every:
            return said
        counted = (self.lines[-1].step if self.lines else self._resumed_at // every * every) + every
        return counted if abs(counted - said) <= scale // 2 else round(said / every) * every


@dataclass(slots=True)
class Lines:
    """Text in pieces, as a pipe has it, to whole lines; a progress bar's ends with a carriage return."""

    _rest: bytes = b""

    def take(self, piece: bytes) -> Iterator[str]:
        """Yield the lines that end in `piece`."""
        *whole, rest = _LINE_ENDS.split(self._rest + piece)
        self._rest = rest[-_LONGEST_LINE:]
        yield from (line.decode(errors="replace") for line in whole if line)

    def last(self) -> Iterator[str]:
        """Yield what was printed without an end."""
        yield from self.take(b"\n")
