"""Rows of the accuracy ledger and the results behind them, made by hand."""

from __future__ import annotations

from actprof.cell import Cell
from actprof.ledger.comparison import Figures
from actprof.ledger.row import AccuracyRow
from actprof.measurement import CardUse, DeviceFacts, Measurement
from actprof.out_of_memory import OutOfMemory
from actprof.results import GpuUse, Result
from actprof.units import GIB, MIB

CELL = Cell(batch_size=8)
DEVICE = DeviceFacts(type="cuda", name="NVIDIA GeForce RTX 3090", driver="580.95", cuda="12.8", cudnn="9.1.0")
RUN = Measurement(
    command="actprof measure", date="2026-01-02", card=CardUse(samples=9, process_bytes=11 * GIB)
)
MESSAGE = (
    "CUDA out of memory. Tried to allocate 76.00 MiB. GPU 0 has a total capacity of 23.69 GiB of which "
    "1.00 GiB is free. Including non-PyTorch memory, this process has 20.94 GiB memory in use."
)
OOM = OutOfMemory(
    step=1, phase="forward", module="", op="", requested_bytes=75 * MIB, segment_bytes=76 * MIB,
    allocated_bytes=1, reserved_bytes=1, message=MESSAGE,
)  # fmt: skip


def result(source="measured", **fields):
    """Return a result of 10 GiB allocated, 10.5 GiB reserved, 11 GiB in all."""
    known = {
        "source": source, "cell": CELL, "verdict": "fits",
        "gpu": GpuUse(name="RTX 3090", capacity_bytes=24 * GIB, context_bytes=GIB // 2),
        "peak_allocated_bytes": 10 * GIB, "peak_reserved_bytes": 10 * GIB + GIB // 2,
        "peak_process_bytes": 11 * GIB,
    }  # fmt: skip
    own = {"device": DEVICE, "measurement": RUN, "versions": {"torch": "2.11.0"}}
    return Result(**{**known, **(own if source == "measured" else {}), **fields})


def make_row(*, off=0.0, number="allocated", origin="measured", gpu="RTX 3090", **fields):
    """Return a row of which one number, of 1000 MiB, is `off` percent off."""
    name = f"{number}_bytes"
    measured = 1000 * MIB
    figures = {
        "predicted": Figures(**{name: round(measured * (1 + off / 100))}),
        "measured": Figures(**{name: measured}),
    }
    return AccuracyRow(**{"cell": CELL, "origin": origin, "gpu": gpu, **figures, **fields})


def judged(said, was, **fields):
    """Return a row of a verdict and what became of the run."""
    return make_row(predicted=Figures(verdict=said), measured=Figures(verdict=was), **fields)
