"""Memory by source line of a few functions, on a CUDA GPU, through pytorch-memlab's `LineProfiler`.

It traces Python line by line and resets the allocator's peak statistics at each line, so it slows a run down
and spoils every other reading of peaks: never profile lines while something else is measured.
"""

from __future__ import annotations

import inspect
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby
from pathlib import PurePath
from types import CodeType
from typing import Any

import torch
from torch import nn

from actprof.errors import UsageError
from actprof.measuring.request import Request
from actprof.measuring.run_device import RunDevice
from actprof.measuring.training_steps import Build
from actprof.policies import policy_spec
from actprof.policies.accelerator import no_phase
from actprof.policies.adapter import own_modules
from actprof.units import format_bytes

_COLUMNS = ("active_bytes.all.peak", "reserved_bytes.all.peak")
_SIZE_WIDTH = 12
_NARROWEST, _WIDEST = 80, 120


@dataclass(frozen=True, slots=True, kw_only=True)
class LineUse:
    """One source line of a `function` (`ACT.forward`) that ran; the highest bytes of all its runs.

    `file` is the path as Python imports it (`lerobot/policies/act/modeling_act.py`). Active bytes are those
    of live tensors while the line ran, whoever made them; what it calls is included.
    """

    function: str
    file: str
    line: int
    source: str
    active_bytes_peak: int
    reserved_bytes_peak: int


def profile_policy(request: Request, device: RunDevice, build: Build) -> str:
    """Return the memory by line of a policy's forward in the second step, as a table.

    A run that ends in the first step shows that one. The first is not taken otherwise: cuDNN tries its plans
    in it, and the optimizer has no state yet. The table is as wide as `COLUMNS`, 80 to 120.

    Raises:
        UsageError: there is no CUDA GPU, or no module of the policy is named for this.
    """
    _needs_cuda()
    policy = request.cell.policy
    paths = policy_spec(policy).line_modules
    if not paths:
        raise UsageError(
            f"no module of {policy} is named for a profile by line; add line_modules to its SPEC"
        )
    workload = build(no_phase)
    functions = forward_functions(workload.policy, paths)
    failures: list[str] = []

    def step() -> None:
        try:
            workload.step()
        except torch.OutOfMemoryError as error:
            failures.append(str(error).partition("\n")[0])

    for _ in range(2):
        lines = profile_lines(functions, step, device=device.torch_device.index)
        if failures:
            break
    width = min(max(shutil.get_terminal_size((_WIDEST, 1)).columns, _NARROWEST), _WIDEST)
    return "\n\n".join(
        [lines_text(lines, width=width), *(f"it ran out of memory: {text}" for text in failures)]
    )


def forward_functions(policy: nn.Module, paths: Sequence[str]) -> tuple[Callable[..., Any], ...]:
    """Return the `forward` of the modules at `paths` (`PolicySpec.line_modules`), each function once.

    Raises:
        UsageError: the policy has no module of that path.
    """
    modules = own_modules(policy)
    missing = [path for path in paths if path not in modules]
    if missing:
        raise UsageError(f"{type(policy).__name__} has no module {missing[0]!r}; see its PolicySpec")
    return tuple(dict.fromkeys(type(modules[path]).forward for path in paths))


def profile_lines(
    functions: Sequence[Callable[..., Any]], run: Callable[[], None], *, device: int | None = None
) -> tuple[LineUse, ...]:
    """Return the memory by line of `functions` while `run` runs, in the order of `functions` and source.

    Only lines that ran in this thread appear, so nothing of the reverse pass. The `def` line does not: what
    is recorded there belongs to the caller. What `run` raises passes through; one that catches its own
    `torch.OutOfMemoryError` keeps the lines up to there. Decorated functions are unwrapped; `device` is
    PyTorch's index of the GPU, None the current one.

    Raises:
        UsageError: there is no CUDA GPU, or a function has no Python source, or two have the same name.
    """
    _needs_cuda()
    plain = list(dict.fromkeys(inspect.unwrap(function) for function in functions))
    _check(plain)
    # Imported here: the package prints on machines without CUDA, and empties the allocator's cache on others.
    from pytorch_memlab import LineProfiler

    index = torch.cuda.current_device() if device is None else device
    profiler = LineProfiler(*plain, target_gpu=index)
    with _previous_tracer(), torch.cuda.device(index), profiler:
        run()
    # One row per (qualified name, line) with the highest of all runs. It is the frame that memlab prints, and
    # has no public name. memlab 0.3.2 makes and prints it without a warning with pandas 2.3 and torch 2.11.
    rows = profiler.display(columns=_COLUMNS)._line_records
    return tuple(use for function in plain for use in _uses(function, rows))


def lines_text(lines: Sequence[LineUse], *, width: int = 80) -> str:
    """Return a table for each function, at most `width` columns wide; `*` marks its highest lines."""
    return "\n\n".join(_table(list(uses), width) for _, uses in groupby(lines, key=_function_of))


def _needs_cuda() -> None:
    if not torch.cuda.is_available():
        raise UsageError("memory by source line is read from a CUDA GPU, and torch finds none here")


def _check(functions: Sequence[Callable[..., Any]]) -> None:
    for function in functions:
        if not isinstance(getattr(function, "__code__", None), CodeType):
            raise UsageError(f"{function!r} has no Python source; give a plain function or method")
    names = [function.__qualname__ for function in functions]
    twice = {name for name in names if names.count(name) > 1}
    if twice:  # memlab tells functions apart by this name
        raise UsageError(f"two functions are called {min(twice)}; profile them one after the other")


@contextmanager
def _previous_tracer() -> Iterator[None]:
    """Put back the tracer that was set before (coverage, a debugger): memlab leaves none behind."""
    before = sys.gettrace()
    try:
        yield
    finally:
        sys.settrace(before)


def _uses(function: Callable[..., Any], rows: Any) -> Iterator[LineUse]:
    source, first = inspect.getsourcelines(function)
    name = function.__qualname__
    # The first line event of a call is booked on the `def` line: it holds what the caller did since the last
    # reset. In a function of one line both are one, and it is kept.
    body = [(first + offset, text) for offset, text in enumerate(source) if offset or len(source) == 1]
    for line, text in body:
        if (name, line) in rows.index:
            active, reserved = (int(value) for value in rows.loc[(name, line)])
            yield LineUse(
                function=name,
                file=_import_path(function),
                line=line,
                source=text.rstrip(),
                active_bytes_peak=active,
                reserved_bytes_peak=reserved,
            )


def _import_path(function: Callable[..., Any]) -> str:
    """Return the last parts of the source's path, as many as the module's name has."""
    parts = PurePath(inspect.getsourcefile(function) or "").parts
    return "/".join(parts[-len(function.__module__.split(".")) :])


def _function_of(use: LineUse) -> tuple[str, str]:
    return use.file, use.function


def _table(uses: Sequence[LineUse], width: int) -> str:
    highest = max(use.active_bytes_peak for use in uses)
    indent = min(len(use.source) - len(use.source.lstrip()) for use in uses)
    rows = [f"  {'line':>5}{'active':>{_SIZE_WIDTH}}{'reserved':>{_SIZE_WIDTH}}  source"]
    for use in uses:
        mark = "*" if use.active_bytes_peak == highest else " "
        sizes = (format_bytes(size) for size in (use.active_bytes_peak, use.reserved_bytes_peak))
        active, reserved = (f"{text:>{_SIZE_WIDTH}}" for text in sizes)
        rows.append(f"{mark} {use.line:>5}{active}{reserved}  {use.source[indent:]}")
    return "\n".join(_fit(row, width) for row in (f"{uses[0].function}  {uses[0].file}", *rows))


def _fit(row: str, width: int) -> str:
    return row if len(row) <= width else f"{row[: width - 1]}…"
