"""Make the traces that come with actprof (`actprof/trace/shipped/`), and hold what is derived to fresh ones.

    python benchmarks/ship_traces.py [POLICY]… [--missing]

Every policy at lerobot's defaults, and as people set it beside them; one to three cameras of five
resolutions. Takes minutes for ACT and hours for all. With `--missing`, traces that are there and were made
with what is installed stay.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from itertools import product

from actprof.cell import Cell
from actprof.errors import TraceError, UsageError
from actprof.files import write_whole
from actprof.policies import policy_names
from actprof.policies.libraries import versions_for
from actprof.policies.train_command import describe_fields
from actprof.trace.derived import ANCHORS, Lengths
from actprof.trace.model import Trace
from actprof.trace.record import record_trace
from actprof.trace.shipped import Shelf, shelf_of, shelf_path, with_lengths, write_shelf
from actprof.trace.storage import trace_to_bytes

RESOLUTIONS = ("224x224", "640x480", "480x360", "320x240", "256x256")
# The dataset of lerobot's first examples: one camera, a state and an action of two numbers.
PUSHT, ON_PUSHT = (
    Cell(cameras=1, resolution="96x96", state_dim=2, action_dim=2),
    ("act", "diffusion", "vqbet"),
)
RESOLUTIONS_OF = {"tdmpc": ("84x84", "224x224", "256x256")}  # it takes square images only
CAMERAS = (1, 2, 3)
_CHUNKS = tuple({"chunk_size": size, "n_action_steps": size} for size in (100, 50))
_AS_BASE = {
    "load_vlm_weights": True, "num_expert_layers": 0, "pad_language_to": "max_length", "prefix_length": 0,
}  # fmt: skip
_IN_BF16 = {"dtype": "bfloat16", "gradient_checkpointing": True}
# How people set a policy's config; as lerobot has it where it is not named.
SETTINGS = {
    "act": _CHUNKS,
    "smolvla": ({}, {"load_vlm_weights": True}, _AS_BASE),
    "pi05": ({}, _IN_BF16),
}
# Policies whose traces under DDP come along: each GPU of a run does the same, however many there are.
ON_SEVERAL_GPUS = ("act", "smolvla")
# Beside the trace that serves all batch sizes: those with one of their own, and where each size has one.
ALONE, EACH = (1,), (1, 2, 4, 8)
# Policies whose sizes are no affine function of the lengths of state and action: multi-tensor kernels work by
# chunks of a parameter: a few lengths are traced as they are.
NOT_AFFINE = ("diffusion", "multi_task_dit", "tdmpc", "vqbet")
USUAL = (Lengths(6, 6), Lengths(7, 7), Lengths(14, 14))
CHECKED = (*USUAL, Lengths(2, 19))


def main() -> None:
    """Make the files of the policies that are named, or of all, each in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("policies", nargs="*", metavar="POLICY", default=policy_names())
    parser.add_argument("--missing", action="store_true", help="keep what is there")
    given = parser.parse_args()
    if len(given.policies) == 1:
        make(given.policies[0], keep=given.missing)
        return
    for policy in given.policies:
        subprocess.run([sys.executable, __file__, policy, *["--missing"] * given.missing], check=True)


def make(policy: str, *, keep: bool) -> None:
    """Write the files of a policy, one for each number of cameras, and check the first that there is."""
    checked = policy in NOT_AFFINE
    for cameras in CAMERAS:
        start = time.perf_counter()
        cell = Cell(policy=policy, cameras=cameras)
        try:
            traces = traces_of(cell, keep=keep)
        except (UsageError, TraceError) as error:
            print(f"{policy} with {cell.cameras_text}: none, {error}", flush=True)
            continue
        size = shelf_path(cell).stat().st_size
        took = time.perf_counter() - start
        print(f"{shelf_path(cell).name}: {traces} traces, {size:,} bytes, {took:,.0f} s", flush=True)
        if not checked:
            check(cell)
            checked = True


def traces_of(cell: Cell, *, keep: bool) -> int:
    """Write the file of the policy and number of cameras of `cell`; return how many traces it has."""
    shelf = Shelf(
        path=shelf_path(cell),
        versions=versions_for(cell),
        defaults=describe_fields(cell.policy)["defaults"]["policy"],
        traces=(),
    )
    old = shelf_of(cell) if keep else None
    if old is not None and old.versions != shelf.versions:
        old = None
    traces: dict[str, Trace] = {}

    def take(one: Cell, *, alone: bool) -> Trace:
        there = old and ((not alone and old.one(one, None)) or old.one(one, one.batch_size))
        trace = there or record_trace(one)
        traces[shelf.key_of(one, trace.fixed_batch_size)] = trace
        return trace

    def take_all(one: Cell) -> Trace:
        trace = take(one, alone=False)
        for size in ALONE if trace.fixed_batch_size is None else EACH:
            take(replace(one, batch_size=size), alone=True)
        return trace

    for group in groups_of(cell):
        alike = {}  # traces that differ in sizes only need anchors of one resolution
        for one in group:
            trace = take_all(one)
            alike[trace.events.tobytes(), trace.ops.names] = one
        alone = cell.policy in NOT_AFFINE or group[0].resolution == PUSHT.resolution
        for one in () if alone else alike.values():
            for lengths in ANCHORS[1:]:
                take_all(with_lengths(one, lengths))
    write_whole(shelf.path, write_shelf(replace(shelf, traces=tuple(traces)), list(traces.values())))
    return len(traces)


def groups_of(cell: Cell) -> Iterator[list[Cell]]:
    """Yield the cells of the policy and number of cameras of `cell` that are traced, by what people set."""
    uneven = cell.policy in NOT_AFFINE
    if cell.cameras == 1 and cell.policy in ON_PUSHT:
        yield [replace(PUSHT, policy=cell.policy)]
    strategies = ("none", "ddp") if cell.policy in ON_SEVERAL_GPUS else ("none",)
    for strategy, overrides in product(strategies, SETTINGS.get(cell.policy, ({},))):
        one = replace(cell, overrides=overrides, strategy=strategy)
        yield [
            with_lengths(replace(one, resolution=resolution), lengths)
            for lengths in (USUAL if uneven else ANCHORS[:1])
            for resolution in RESOLUTIONS_OF.get(cell.policy, RESOLUTIONS)
        ]


def check(cell: Cell) -> None:
    """Hold what is derived to fresh traces, at the last setting.

    Raises:
        SystemExit: they differ.
    """
    *_, first = groups_of(cell)
    for at, lengths in enumerate(CHECKED):  # each at another resolution
        one = with_lengths(first[at % len(first)], lengths)
        shelf = shelf_of(one)
        derived = shelf and shelf.find(one)
        fresh = replace(record_trace(one), trace_seconds=0.0)
        if derived is None or trace_to_bytes(replace(derived, versions=fresh.versions)) != trace_to_bytes(
            fresh
        ):
            sys.exit(f"{cell.policy}: what is derived for {lengths} is not what is traced")
    print(f"{cell.policy}: derived for {len(CHECKED)} lengths of state and action as traced", flush=True)


if __name__ == "__main__":
    main()
