"""Loader results made by hand: numbers that can be checked by eye."""

from __future__ import annotations

from actprof.loading.host_memory import HostMemory
from actprof.loading.own_memory import OwnMemory
from actprof.loading.rows import COLD, DatasetFacts, LoaderResult, LoaderRow, Source
from actprof.measurement import Spread

PYAV = Source(storage="video", width=640, height=480, backend="pyav")
TORCHCODEC = Source(storage="video", width=640, height=480, backend="torchcodec")
IMAGES = Source(storage="images", width=640, height=480)
IMAGES_ALONE = Source(storage="images", width=640, height=480, actions_alone=True)
IN_LOADER = Source(storage="video", width=640, height=480, backend="pyav", resize="224x224")
SMALL = Source(storage="video", width=224, height=224, backend="pyav")


FOUND = OwnMemory(main_bytes=528 << 20, workers_bytes=(500 << 20, 510 << 20), shm_bytes=127 << 20)
SAID = HostMemory(
    main_bytes=529 << 20, worker_bytes=502 << 20, batch_bytes=14 << 20, workers=2, shm_bytes=127 << 20,
    start_method="spawn",
)  # fmt: skip


def make_row(source=PYAV, sample=0.05, *, workers=0, batch_size=8, cpu=None, **fields):
    """Return a row of so many seconds per sample; processor seconds are the same if left out."""
    batch = sample * batch_size
    values = {
        "source": source, "batch_size": batch_size, "workers": workers, "batches": 12,
        "batch_seconds": Spread(low=batch, median=batch, high=batch * 1.2),
        "cpu_seconds": (sample if cpu is None else cpu) if workers == 0 else None,
    }  # fmt: skip
    if workers == 0 and fields.get("cache") != COLD:
        values["stages"] = {"rows": sample * 0.1, "decode": sample * 0.6, "convert": sample * 0.3}
        values["frames_decoded"] = 6.0
    return LoaderRow(**{**values, **fields})


def make_result(**fields):
    """Return a result of all ways of loading, one of which was refused."""
    rows = (
        make_row(PYAV, 0.08, cache=COLD, cached_share=0.0),
        make_row(PYAV, 0.05),
        make_row(PYAV, 0.05, workers=1),
        make_row(PYAV, 0.03, workers=2, memory=FOUND, predicted_memory=SAID),
        make_row(IMAGES, 6.0, frames_decoded=202.0, cpu_seconds=None),
        make_row(IMAGES_ALONE, 0.04),
        make_row(IN_LOADER, 0.055),
        make_row(SMALL, 0.0125),
        LoaderRow(source=TORCHCODEC, batch_size=8, workers=0, reason="torchcodec finds no FFmpeg libraries"),
    )
    facts = DatasetFacts(
        storage="video", width=640, height=480, cameras=2, frames=120, episodes=2, fps=30,
        codec="av1, yuv420p, a key frame every 2", frame_bytes=23_000,
    )  # fmt: skip
    values = {
        "name": "synthetic 2x640x480", "rows": rows, "datasets": (facts,), "chunk_size": 100, "cores": 2,
        "torch_threads": 2, "settings": ("prefetch_factor=4",), "notes": ("a note about <b>it</b>",),
        "versions": {"torch": "2.11.0"},
    }  # fmt: skip
    return LoaderResult(**{**values, **fields})
