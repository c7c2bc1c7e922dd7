"""What limits a training step, in words, and what would help against it."""

from __future__ import annotations

from actprof.errors import UsageError
from actprof.hardware import find_gpu
from actprof.policies import policy_spec
from actprof.policies.changes import fitting_changes
from actprof.policies.precision import autocast_of
from actprof.prediction.step_parts import component_parts, kind_parts
from actprof.results import Result, StepWork
from actprof.step_time.variants import COMPILED, DDP, DDP_GPUS, GRAPHS
from actprof.units import format_seconds
from actprof.words import LIMITS, rate_text

_BF16, _BY_FIELD = "bf16 autocast", "bf16 (--policy.dtype=bfloat16)"
_FUSED, _SMALLER = "attention without stored maps", "smaller images"
_COMPILED, _GRAPHS = "torch.compile", "torch.compile with CUDA graphs"
_KINDS, _COMPONENTS = 5, 3  # of the GPU's time that a line names
_LARGER, _DATA = "a larger batch", "data"
# By what the step waits for; the first that fits the cell comes first.
_HELP = {
    "launches": (
        f"{_LARGER}: the same kernel launches for more samples",
        f"{_GRAPHS} (mode='reduce-overhead'): one launch for many kernels",
    ),
    "arithmetic": (
        f"{_SMALLER}, resized in the loader or when they are recorded: fewer tokens and feature maps",
        f"{_BF16}: tensor cores at up to twice the rate of TF32, which lerobot allows already",
    ),
    "bandwidth": (
        _FUSED,
        f"{_SMALLER}, resized in the loader or when they are recorded: less to read and write",
        f"{_BF16}: half the bytes of most tensors",
        f"{_COMPILED}: several ops in one kernel read and write once",
    ),
    "communication": (
        f"{_LARGER} for each GPU: the same gradients for more samples",
        "gradient accumulation (from lerobot 0.6.2 on): gradients are averaged once for several batches",
        "GPUs that are joined by NVLink",
    ),
    "data": (
        "more workers (--num_workers), or a decoder that is faster (--dataset.video_backend=torchcodec)",
        "images made smaller when they are recorded; actprof loader measures what that brings",
    ),
}


def what_helps(
    limited_by: str, result: Result | None = None, *, larger: Result | None = None
) -> tuple[str, ...]:
    """Return what would make a step faster that waits for `limited_by`; nothing when that is not known.

    What the step of `result` does already, or cannot do, is left out; `larger` is what is predicted of a
    larger batch.
    """
    said = _HELP.get(limited_by, ())
    if result is None:
        return said
    helps = tuple(filter(None, (_applied(text, result) for text in said)))
    if larger is None or not larger.samples_per_second:
        return helps
    rate = f" (batch {larger.cell.batch_size}: {rate_text(larger.samples_per_second)} samples/s)"
    return tuple(text + rate if text.startswith(_LARGER) else text for text in helps)


def _applied(text: str, result: Result) -> str:
    """Return the text as it fits the cell; nothing where it does not."""
    cell = result.cell
    spec = policy_spec(cell.policy)
    if text.startswith(_LARGER):
        fits = result.max_batch_size is None or cell.batch_size < result.max_batch_size
    elif text.startswith(_COMPILED):
        fits = not cell.compiled
        alone = text.startswith(_GRAPHS)
        text += _with_rate(result, GRAPHS, " by the graphs alone") if alone else _with_rate(result, COMPILED)
    elif text.startswith(_BF16):
        fits = autocast_of(cell) == "fp32" and _has_bf16(result.gpu.name)
        text = text.replace(_BF16, _BY_FIELD) if spec.dtype else text
    elif text.startswith(_SMALLER):
        fits = bool(cell.cameras) and not spec.option(cell, spec.resized_by)
    elif text == _FUSED:
        change = next((c.name for c in fitting_changes(spec.parts) if c.family == "attention"), "")
        fits = bool(change) and change not in cell.changes
        text = f"{text} (--change {change})"
    else:
        fits = True
    return text if fits else ""


def _has_bf16(name: str) -> bool:
    try:
        return find_gpu(name).bf16_flops is not None
    except UsageError:  # one that a scenario brought along
        return True


def speed_text(result: Result) -> str:
    """Return `442 ms per step (309 to 619 ms), 72.3 samples/s`, or nothing when it is not known."""
    seconds, rate = result.step_seconds, result.samples_per_second
    if seconds is None or rate is None:
        return ""
    band = f"{format_seconds(seconds.low)} to {format_seconds(seconds.high)}"
    return f"{format_seconds(seconds.median)} per step ({band}), {rate:,.1f} samples/s"


def limited_text(result: Result, *, limited_by: str = "", data_share: float = 0.0) -> str:
    """Return what the step waits for, that first, with seconds; nothing when it is not known.

    As `kernel launches: the host needs 45.4 ms, the GPU is busy for 31.9 ms`. A loop that waits for data in a
    `data_share` of its time is `limited_by` data, or not.
    """
    work, limit = result.work, result.limited_by
    if work is None:
        return ""
    needs, busy = host_texts(work)
    said = f"{LIMITS.get(limit, limit)}: "
    said += f"{needs}, {busy}" if limit == "launches" else f"{busy}{_of_it(work)}, {needs}"
    if data_share < 0.005:
        return said
    waiting = f"{LIMITS[_DATA]} {data_share:.0%} of the time"
    return f"{waiting}; of a step {said}" if limited_by == _DATA else f"{said}; {waiting}"


def host_texts(work: StepWork) -> tuple[str, str]:
    """Return `the host needs 45.4 ms` and `the GPU is busy for 31.9 ms`."""
    return (
        f"the host needs {format_seconds(work.host_seconds)}",
        f"the GPU is busy for {format_seconds(work.device_seconds)}",
    )


def _of_it(work: StepWork) -> str:
    """Return ` (arithmetic 54%, memory bandwidth 46%)`: what the GPU's own time goes to, the most first."""
    own = {name: share for name, share in work.shares.items() if name != "launches"}
    whole = sum(own.values())
    shares = sorted(own.items(), key=lambda item: -item[1]) if whole else []
    said = ", ".join(
        f"{LIMITS.get(name, name)} {share / whole:.0%}" for name, share in shares if share / whole >= 0.005
    )
    return f" ({said})" if said else ""


def gpu_time_text(work: StepWork) -> str:
    """Return `convolutions 23%, …; by component: backbone 57%, …`, the most first; nothing if not known."""
    whole = work.device_seconds
    by_kind = {cost.kind: cost.seconds for cost in kind_parts(work)}
    texts = (
        ", ".join(f"{name} {seconds / whole:.0%}" for name, seconds in list(parts.items())[:most])
        for parts, most in ((by_kind, _KINDS), (component_parts(work), _COMPONENTS))
    )
    return "; by component: ".join(filter(None, texts)) if whole else ""


def variant_rates(result: Result) -> dict[str, tuple[float, float]]:
    """Return the samples per second (lowest, highest) of each of the step's variants, of all their GPUs."""
    if result.work is None:
        return {}
    rates = {}
    for name, (low, high) in result.work.variants.items():
        samples = result.cell.global_samples * (DDP_GPUS if name == DDP else 1)
        rates[name] = (samples / high, samples / low)
    return rates


def rates_text(rates: tuple[float, float]) -> str:
    """Return `241`, or `249 to 316` of a band."""
    low, high = map(rate_text, rates)
    return low if low == high else f"{low} to {high}"


def _with_rate(result: Result, variant: str, how: str = "") -> str:
    rates = variant_rates(result).get(variant)
    return f" ({rates_text(rates)} samples/s{how})" if rates else ""
