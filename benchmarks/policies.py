"""Print what is predicted of every policy at full size, beside what others published and what a GPU measured.

    python benchmarks/policies.py [POLICY …]

The first table has parameters, tokens, the seconds that a trace takes beyond the imports, and those that a
cached answer takes; published counts are those that others printed of the same setting. The second has every
row of the accuracy ledger, `reports/accuracy/rows.jsonl`, of a policy other than ACT. All policies together
take a quarter of an hour on two cores.
"""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from actprof.cell import Cell
from actprof.ledger.keep import read_rows
from actprof.policies import policy_names
from actprof.policies.workload import import_lerobot
from actprof.prediction.predict import predict_cell
from actprof.trace.cache import save_trace
from actprof.units import GIB
from actprof.words import cell_command

LEDGER = Path(__file__).resolve().parents[1] / "reports" / "accuracy"
_GPU = "A100 80GB"
_BF16 = {"dtype": "bfloat16"}
_RECIPE = {**_BF16, "gradient_checkpointing": True}


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting of a policy, and the counts of parameters that somebody published for it."""

    policy: str
    options: dict[str, Any] = field(default_factory=dict)
    parameters: int = 0
    trainable: int = 0


SETTINGS = (
    Setting("act"),
    Setting("act", {"overrides": {"n_decoder_layers": 7}}),
    Setting("diffusion", {}, 277_819_846, 0),
    Setting("vqbet", {"cameras": 1}),
    Setting("tdmpc", {"cameras": 1, "resolution": "84x84"}),
    Setting("multi_task_dit"),
    Setting("smolvla", {}, 450_046_176, 99_880_992),
    Setting("smolvla", {"overrides": {"load_vlm_weights": True}}, 450_046_176, 99_880_992),
    Setting("pi0", {"overrides": _RECIPE}, 4_028_019_472, 0),
    Setting("pi05", {"overrides": _RECIPE}, 4_143_404_816, 0),
    Setting(
        "pi05", {"overrides": {**_RECIPE, "train_expert_only": True}}, 4_143_404_816, 693_422_112
    ),
    Setting("pi05", {"overrides": _RECIPE, "peft": {"r": 16}}, 0, 1_287_168),
    Setting("pi0_fast", {"overrides": _RECIPE}),
    Setting(
        "xvla", {"resolution": "224x224", "overrides": {"action_mode": "auto", "max_state_dim": 20}},
        879_482_456, 0,
    ),
    Setting("groot"),
    Setting("eo1"),
    Setting("evo1"),
    Setting("fastwam", {"state_dim": 8, "action_dim": 7}),
    Setting("vla_jepa"),
)  # fmt: skip


def main() -> None:
    """Print both tables, of the policies named or of all."""
    chosen = set(sys.argv[1:]) or set(policy_names())
    heads = [
        "setting",
        "parameters",
        "published",
        "trainable",
        "published",
        "tokens",
        "trace s",
        "cached s",
        "GiB at batch 8",
    ]
    print(f"| {' | '.join(heads)} |\n{'|---' * len(heads)}|")
    named = {setting.policy for setting in SETTINGS}
    more = tuple(Setting(name) for name in policy_names() if name not in named)
    for setting in (*SETTINGS, *more):
        if setting.policy in chosen:
            print_setting(setting)
    print("\n| run | GPU | measured or published | predicted | difference | band |")
    print("|---|---|---|---|---|---|")
    for row in read_rows(LEDGER):
        if row.cell.policy in chosen - {"act"} and row.measured.allocated_bytes:
            print_row(row)


def print_setting(setting: Setting) -> None:
    """Trace a setting, and ask for it again in a process of its own."""
    from actprof.trace.record import record_trace

    cell = Cell(policy=setting.policy, gpu=_GPU, **setting.options)
    import_lerobot(cell.policy)
    start = time.perf_counter()
    trace = record_trace(cell)
    seconds = time.perf_counter() - start
    save_trace(trace, cell)
    result = predict_cell(cell)
    counted = [p for p in trace.policy.parameters if not p.is_buffer]
    trained = sum(p.count for p in counted if p.trainable)
    cells = (
        cell_command(cell).removeprefix("actprof predict "),
        f"{trace.policy.parameter_count:,}", f"{setting.parameters:,}" if setting.parameters else "",
        f"{trained:,}", f"{setting.trainable:,}" if setting.trainable else "",
        str(trace.policy.encoder_tokens or ""), f"{seconds:.1f}", f"{cached_seconds(cell):.2f}",
        f"{result.peak_allocated_bytes / GIB:.3f}",
    )  # fmt: skip
    print(f"| {' | '.join(cells)} |", flush=True)


def cached_seconds(cell: Cell) -> float:
    """Return the wall clock of the whole command, from a trace that is cached."""
    words = [sys.executable, "-m", *shlex.split(cell_command(cell)), "--json"]
    with tempfile.TemporaryFile() as out:
        start = time.perf_counter()
        subprocess.run(words, stdout=out, check=False)
        seconds = time.perf_counter() - start
        out.seek(0)
        json.load(out)
    return seconds


def print_row(row: Any) -> None:
    """Print a row of the ledger beside what is predicted now."""
    result = predict_cell(row.cell)
    measured, now = row.measured.allocated_bytes, result.peak_allocated_bytes
    band = row.band_holds("allocated")
    held = "" if band is None else ("inside" if band else "outside")
    print(
        f"| {row.name} | {row.gpu} | {measured / GIB:.3f} GiB | {now / GIB:.3f} GiB "
        f"| {(now - measured) / measured:+.2%} | {held} |"
    )


if __name__ == "__main__":
    main()
