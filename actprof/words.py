"""Words and numbers for readers: plurals, lists, shares, names of settings. Plain text, not escaped."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Collection, Iterable

from actprof.cell import CELL_FIELDS, OPTION_FIELDS, Cell
from actprof.results import MOST_BATCH_SIZE, ComponentSize, Verdict
from actprof.units import GIB, format_bytes

NARROW_SPACE = "\u202f"
DEFAULT_ALLOCATOR = "default allocator"
VERDICT_WORDS: dict[str, str] = {verdict: verdict.value for verdict in Verdict}
VERDICT_WORDS |= {Verdict.OOM: "out of memory", Verdict.FAILED: "failed"}
# What a step, or a loop, waits for.
LIMITS = {
    "launches": "kernel launches", "arithmetic": "arithmetic", "bandwidth": "memory bandwidth",
    "data": "data loading", "communication": "communication between the GPUs",
}  # fmt: skip
COMPONENT_HEADS = ("Component", "Trained", "Size", "Frozen", "Size", "Dtype")
# Fields of a cell that a headline names where they are not as usual.
_TITLED = {
    "environment_dim", "task_tokens", "optimizer", "peft", "accumulate", "ema", "precision", "changes",
    "find_unused_parameters", "gradient_as_bucket_view", "reshard_after_forward",
}  # fmt: skip
_UNITS = "wrap_modules"  # which have a word before them
_NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


def spell(count: int) -> str:
    """Return a small number as a word (`two`), a larger one in digits."""
    return _NUMBERS[count] if 0 <= count < len(_NUMBERS) else str(count)


def plural(count: int, noun: str) -> str:
    """Return `noun` in the number that fits `count` (regular nouns only)."""
    return noun if count == 1 else f"{noun}s"


def cameras_text(count: int) -> str:
    """Return `one camera`, `two cameras` and so on."""
    return f"{spell(count)} {plural(count, 'camera')}"


def join(items: Iterable[str]) -> str:
    """Return `a`, `a and b`, or `a, b and c`."""
    *first, last = list(items) or [""]
    return f"{', '.join(first)} and {last}" if first else last


def gib(count: int, *, digits: int = 2) -> str:
    """Return bytes in GiB, with the sign of typography for what lacks."""
    return f"{count / GIB:.{digits}f}".replace("-", "\u2212")


def percent(part: float, whole: float) -> str:
    """Return a share as `27 %` that no line break parts; below one it is `<1 %`, of nothing `0 %`."""
    share = 100 * part / whole if whole else 0.0
    return f"{'<1' if 0 < share < 1 else format(share, '.0f')}{NARROW_SPACE}%"


def difference_text(part: float, whole: float) -> str:
    """Return a signed share as `+0.31 %` that no line break parts; from ten percent on without decimals."""
    share = 100 * part / whole if whole else 0.0
    digits = 2 if abs(share) < 1 else 1 if abs(share) < 10 else 0
    if not float(f"{share:.{digits}f}"):
        return f"0{NARROW_SPACE}%"
    return f"{share:+.{digits}f}{NARROW_SPACE}%".replace("-", "\u2212")


def times(ratio: float) -> str:
    """Return a ratio as `6.0 times`, or `36 times` from ten on."""
    return f"{ratio:.1f} times" if ratio < 10 else f"{ratio:.0f} times"


def rate_text(rate: float) -> str:
    """Return samples per second with three figures: `4.27`, `72.7`, `387`, `1,240`."""
    digits = 2 if rate < 10 else 1 if rate < 100 else 0
    return f"{rate if rate < 1000 else round(rate, -1):,.{digits}f}"


def limit_text(limit: int | None) -> str:
    """Return the largest batch size that runs, as it reads after `the largest batch is`."""
    if limit is None:
        return "not known"
    if limit == 0:
        return "none (not even batch 1)"
    return f"{limit} or more" if limit >= MOST_BATCH_SIZE else str(limit)


def allocator_text(alloc_conf: str) -> str:
    """Return the name of an allocator setting: PyTorch's own text, or `default allocator`."""
    return alloc_conf or DEFAULT_ALLOCATOR


def views_text(cameras: int, resolution: str) -> str:
    """Return `two 640x480 cameras`, `two 640x480 cameras and one 480x640`, or `no cameras`."""
    (size, count), *others = _sizes(cameras, resolution) or [("", 0)]
    first = " ".join(filter(None, (spell(count), size, plural(count, "camera"))))
    return join([first, *(f"{spell(count)} {size}" for size, count in others)])


def images_text(cameras: int, resolution: str) -> str:
    """Return `640x480`, several sizes with the number of cameras of each, or `no images`: for little room."""
    (size, count), *others = _sizes(cameras, resolution) or [("no images", 0)]
    counts = [(size, count if others else 1), *others]
    return ", ".join(f"{size} \u00d7{count}" if count > 1 else size for size, count in counts)


def _sizes(cameras: int, resolution: str) -> list[tuple[str, int]]:
    """Return each size of images, and how many cameras have it."""
    sizes = resolution.split(",")
    return list(Counter(sizes if len(sizes) > 1 else sizes * cameras).items())


def capital(text: str) -> str:
    """Return the text with its first letter in upper case, the rest as it is."""
    return text[:1].upper() + text[1:]


def cell_text(cell: Cell) -> str:
    """Return `two 640x480 cameras, batch 64`."""
    return f"{views_text(cell.cameras, cell.resolution)}, {batch_text(cell)}"


def asked_text(cell: Cell) -> str:
    """Return what a run is asked to do, for a headline: `2 cameras at 640x480, batch 8, EMA on`.

    The fields of the policy's config, its device and its allocator are left out.
    """
    (size, count), *others = _sizes(cell.cameras, cell.resolution) or [("", 0)]
    views = [f"{count} {plural(count, 'camera')} at {size}" if count else "no cameras"]
    views += [f"{count} at {size}" for size, count in others]
    return ", ".join([join(views), batch_text(cell), *options_text(cell)])


def batch_text(cell: Cell) -> str:
    """Return `batch 8`, or `batch 8 per GPU (64 on all)` of a run with several."""
    if cell.world_size == 1:
        return f"batch {cell.batch_size}"
    return f"batch {cell.batch_size} per GPU ({cell.batch_size * cell.world_size:,} on all)"


def says_strategy(pairs: Collection[tuple[int, str]]) -> bool:
    """Tell whether the number of GPUs says how they share, of all pairs of the two: one alone, or DDP."""
    return all(shared == ("none" if count == 1 else "ddp") for count, shared in pairs)


def gpus_text(cell: Cell, name: str) -> str:
    """Return `RTX 3090`, or eight times that (with `DDP`) of a run with several."""
    shared = f" ({cell.strategy.upper()})" if cell.strategy != "none" else ""
    return f"{name}{shared}" if cell.world_size == 1 else f"{cell.world_size} \u00d7 {name}{shared}"


def options_text(cell: Cell) -> list[str]:
    """Return the options that a headline names: `peft.r=16`, `accumulate 4`, `EMA on`, as there are."""
    parts = (part for part in CELL_FIELDS if part.name in _TITLED and cell.reads(part.name))
    words = [word for part in parts for word in part.unusual(getattr(cell, part.name))]
    return words + [f"sharded by {join(cell.wrap_modules)}"] * bool(cell.reads(_UNITS) and cell.wrap_modules)


def component_rows(components: Iterable[ComponentSize]) -> list[tuple[str, ...]]:
    """Return a row of texts under `COMPONENT_HEADS` for each component, and one for all of them last."""
    sizes = list(components)
    whole = ComponentSize(
        component="all",
        trainable=sum(c.trainable for c in sizes),
        trainable_bytes=sum(c.trainable_bytes for c in sizes),
        frozen=sum(c.frozen for c in sizes),
        frozen_bytes=sum(c.frozen_bytes for c in sizes),
        dtypes=tuple(dict.fromkeys(dtype for c in sizes for dtype in c.dtypes)),
    )
    return [
        (
            c.component, *_counted(c.trainable, c.trainable_bytes), *_counted(c.frozen, c.frozen_bytes),
            ", ".join(c.dtypes),
        )
        for c in (*sizes, whole)
    ]  # fmt: skip


def _counted(count: int, size: int) -> tuple[str, str]:
    return (f"{count:,}", format_bytes(size)) if count else ("\u2013", "")


def cell_command(cell: Cell, command: str = "predict") -> str:
    """Return the command that asks for this cell alone; what goes without saying is left out."""
    said = (word for part in OPTION_FIELDS for word in part.words(getattr(cell, part.name)))
    return shlex.join(["actprof", command, *said])
