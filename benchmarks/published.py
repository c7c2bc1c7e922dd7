"""Print our predictions beside what others measured on real GPUs and published.

    python benchmarks/published.py

The published figures and their sources are rows of the accuracy ledger, `reports/accuracy/rows.jsonl`; the
table has those of the RTX 5060 Ti 16 GB: two cameras 640x480, chunk size 100, AdamW, fp32.
"""

from __future__ import annotations

from pathlib import Path

from actprof.ledger.keep import read_rows
from actprof.ledger.row import AccuracyRow
from actprof.prediction.predict import predict_cell
from actprof.units import GIB, MIB

LEDGER = Path(__file__).resolve().parents[1] / "reports" / "accuracy"
GPU = "RTX 5060 Ti 16 GB"


def main() -> None:
    """Print one row per published batch size."""
    rows = sorted(
        (row for row in read_rows(LEDGER) if (row.origin, row.gpu) == ("published", GPU)),
        key=lambda row: row.cell.batch_size,
    )
    print("| batch | published mem_gb | predicted | difference | nvidia-smi | predicted | difference |")
    print("|---|---|---|---|---|---|---|")
    for row in rows:
        if row.measured.runs:
            print_row(row)
    for row in rows:
        oom = predict_cell(row.cell).oom
        if row.measured.tried_bytes and oom:
            said = oom.message.partition(" Of the")[0]
            print(f"\nbatch {row.cell.batch_size}: {oom.phase} of step {oom.step}, {oom.module}: {said}")


def print_row(row: AccuracyRow) -> None:
    """Print a run that got through, beside its prediction."""
    result = predict_cell(row.cell)
    allocated, process = result.peak_allocated_bytes / GIB, result.peak_process_bytes / MIB
    mem_gb, process_mib = (row.measured.allocated_bytes or 0) / GIB, (row.measured.process_bytes or 0) / MIB
    print(
        f"| {row.cell.batch_size} | {mem_gb:.2f} GiB | {allocated:.3f} GiB | {allocated - mem_gb:+.3f} GiB "
        f"| {process_mib:.0f} MiB | {process:.0f} MiB | {process - process_mib:+.0f} MiB |"
    )


if __name__ == "__main__":
    main()
