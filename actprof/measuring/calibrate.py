"""What `actprof calibrate` measures of this machine, and what follows of it. Imports no torch.

The factor of a group of kernels is the median over its pieces of work. Of one piece it is what its own
kernels took over what they are predicted to take:

    factor = (measured - least of each kernel and gaps - other groups' kernels at their factors) / own kernels

The host is as many times as fast as the default one as a small training step says: launched on a GPU, or,
without one, dispatched on the CPU.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from statistics import median

from actprof.cell import Cell
from actprof.errors import UsageError
from actprof.hardware import Catalogue, Gpu, LocalGpu, builtin_catalogue
from actprof.measurement import DeviceFacts
from actprof.measuring.choose_device import choose_gpu
from actprof.processes.worker import Conditions, call_alone
from actprof.progress import Listener, nobody
from actprof.step_time.calibration import GROUPS, Calibration, ProbeTime, group_of
from actprof.step_time.host import Host, default_host
from actprof.step_time.kernel import Kernel
from actprof.step_time.kernel_time import KernelTime
from actprof.units import format_bytes
from actprof.versions import UNKNOWN, library_versions, package_version

# The default host's own seconds for forward and backward of the small step on the CPU: an estimate, a third
# up or down. On its GPU a bare op takes the host 6.5 us (reports/accuracy/h100/machine.json), on the CPU
# about half of it, as others publish (4 us with CUDA, 2 us without). Where such an op takes 2.1 us on the
# CPU, the small step takes 4.5 ms.
DISPATCH_SECONDS = 7.0e-3
_IN_USE = 0.03  # of the GPU's memory, which others hold: then they may work as well
_FACTORS = (0.1, 10.0)  # what lies outside was disturbed


@dataclass(frozen=True, slots=True)
class Timed:
    """A piece of work: what it took, and its kernels with what is predicted of them and between them."""

    name: str
    group: str
    seconds: float
    kernels: Sequence[Kernel]
    times: Sequence[KernelTime]
    gaps: float

    @property
    def predicted(self) -> float:
        """Seconds that it was to take."""
        return self.gaps + sum(time.seconds for time in self.times)

    @property
    def kept(self) -> ProbeTime:
        """What a calibration keeps of it."""
        return ProbeTime(name=self.name, group=self.group, seconds=self.seconds, predicted=self.predicted)


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What the process found: times of work on the GPU, passes of a small step there and on the CPU.

    `expected_seconds` are those that launching the small step costs the default host.
    """

    processor: str = ""
    device: DeviceFacts | None = None
    timed: tuple[Timed, ...] = ()
    launching: Mapping[str, float] = field(default_factory=dict)
    expected_seconds: float = 0.0
    dispatching: Mapping[str, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def calibrate(
    gpus: Sequence[LocalGpu],
    *,
    device: str | None = None,
    catalogue: Catalogue | None = None,
    listener: Listener = nobody,
    call: Callable[..., Found] = call_alone,
) -> Calibration:
    """Measure the GPU of this machine, or its host alone, in a process of its own.

    Args:
        gpus: those that may be used, in PyTorch's order.
        device: `cpu`, `cuda` or `cuda:1`; the GPU with most free memory if left out, the host alone where
            there is none.
        catalogue: knows the GPU.
        listener: told what is measured.
        call: runs a function in a process of its own.

    Raises:
        UsageError: no such device, or torch is not installed.
        WorkerError: the process died, or gave no answer in time.
    """
    if package_version("torch") == UNKNOWN:
        raise UsageError(
            "calibrating runs torch, but it is not installed here (pip install 'actprof[lerobot]')"
        )
    known = catalogue or builtin_catalogue()
    choice = choose_gpu(Cell(gpu=None), gpus, known, device=device)
    conditions = Conditions(environment={**choice.shown}, listener=listener)
    if choice.gpu is None:
        return _calibration("", call(conditions, _measure_host))
    card = choice.gpu.as_card(known)
    found = call(conditions, _measure_gpu, card, choice.gpu.index, choice.gpu.driver)
    return _calibration(card.name, replace(found, notes=(*_in_use(choice.gpu), *found.notes)))


def _measure_host() -> Found:
    from actprof.measuring.calibrate_worker import calibrate_host

    return calibrate_host()


def _measure_gpu(gpu: Gpu, index: int, driver: str) -> Found:
    from actprof.measuring.calibrate_worker import calibrate_gpu

    return calibrate_gpu(gpu, index, driver)


def _in_use(gpu: LocalGpu) -> tuple[str, ...]:
    if gpu.used_bytes < _IN_USE * gpu.total_bytes:
        return ()
    used = format_bytes(gpu.used_bytes)
    return (f"{used} of the GPU were in use before: what works there meanwhile makes times longer",)


def _calibration(gpu: str, found: Found) -> Calibration:
    facts = found.device
    told = {} if facts is None else {"driver": facts.driver, "cuda": facts.cuda, "cudnn": facts.cudnn}
    versions = {name: version for name, version in (library_versions() | told).items() if version != UNKNOWN}
    return Calibration(
        gpu=gpu,
        host=_host(found),
        factors=factors_of(found.timed),
        probes=tuple(one.kept for one in found.timed),
        launching=found.launching,
        dispatching=found.dispatching,
        notes=found.notes,
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        versions=versions,
    )


def factors_of(timed: Sequence[Timed]) -> dict[str, float]:
    """Return measured over predicted seconds by group of kernels; a group without a piece has none."""
    factors: dict[str, float] = {}
    for group in GROUPS:
        pieces = [_factor(one, factors) for one in timed if one.group == group]
        low, high = _FACTORS
        sound = [piece for piece in pieces if low <= piece <= high]
        if sound:
            factors[group] = median(sound)
    return factors


def _factor(timed: Timed, factors: Mapping[str, float]) -> float:
    seconds: defaultdict[str, float] = defaultdict(float)
    for kernel, time in zip(timed.kernels, timed.times, strict=True):
        seconds[group_of(kernel)] += max(time.arithmetic, time.traffic)
    own = seconds.pop(timed.group)
    others = sum(factors.get(group, 1.0) * taken for group, taken in seconds.items())
    return (timed.seconds - timed.gaps - sum(time.least for time in timed.times) - others) / own


def _host(found: Found) -> Host:
    default = default_host()
    if found.launching and found.expected_seconds:
        slower = sum(found.launching.values()) / found.expected_seconds
        how, source = "calibrated", "a small training step, launched on the GPU"
    else:
        slower = dispatch_seconds(found.dispatching) / DISPATCH_SECONDS
        how = "an estimate from the CPU alone"
        source = "estimate: a small training step on the CPU, which says nothing of CUDA's own part"
    name = f"{found.processor} ({how})"
    return replace(default.faster(1 / slower), name=name, processor=found.processor, source=source)


def dispatch_seconds(passes: Mapping[str, float]) -> float:
    """Return the seconds of the small step on the CPU that say something of a GPU's host.

    On the CPU the optimizer goes tensor by tensor, where a GPU takes lists of them.
    """
    return passes["forward"] + passes["backward"]
