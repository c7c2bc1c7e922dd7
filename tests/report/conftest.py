"""Small results made by hand: no trace, no replay, numbers that can be checked by eye."""

from __future__ import annotations

import base64
import gzip
import json
import os
import re
import shutil
from dataclasses import replace
from types import SimpleNamespace

import pytest

from actprof.cell import Cell
from actprof.measurement import DeviceFacts, Measurement, Spread
from actprof.out_of_memory import OutOfMemory
from actprof.results import Breakdown, GpuUse, MemoryCurve, Result
from actprof.units import GIB, MIB

CAPACITY = 24 * GIB
EXPANDABLE = "expandable_segments:True"


def build_result(
    *,
    verdict="fits",
    need=10 * GIB,
    limit=64,
    tokens=602,
    gpu="RTX 3090",
    capacity=CAPACITY,
    reason="",
    **fields,
):
    """Return a result of which everything not named follows from `need` (bytes of the process)."""
    own = {name: fields.pop(name) for name in list(fields) if name in Result.__dataclass_fields__}
    cell = Cell(gpu=gpu, **{"overrides": {"chunk_size": 50}, **fields})
    known = verdict != "unknown"
    values = {
        "source": "predicted", "cell": cell, "verdict": verdict,
        "gpu": GpuUse(name=gpu, capacity_bytes=capacity, context_bytes=GIB // 2),
        "reason": reason or f"it is {verdict}", "versions": {"torch": "2.11.0"},
    }  # fmt: skip
    if known:
        values |= {
            "parameters": 1000, "encoder_tokens": tokens, "max_batch_size": limit,
            "peak_process_bytes": need, "peak_reserved_bytes": need - GIB // 2,
            "peak_allocated_bytes": need - GIB, "headroom_bytes": capacity - need,
            "breakdown": build_breakdown(need - GIB), "curve": build_curve(need),
            "oom": build_oom() if verdict == "oom" else None, "assumptions": ("one process on one GPU",),
        }  # fmt: skip
    return Result(**{**values, **own})


def build_measured(predicted, *, allocated=0, reserved=0, seconds=0.5, device="cuda", **fields):
    """Return a real run of a predicted cell, whose peaks differ by so many bytes; fields as in `Result`."""
    own = {name: fields.pop(name) for name in list(fields) if name in Result.__dataclass_fields__}
    runs = own.get("verdict", predicted.verdict) in ("fits", "tight")
    step = Spread(low=seconds * 0.9, median=seconds, high=seconds * 1.5)
    part = Spread(low=seconds / 4, median=seconds / 4, high=seconds / 4)
    timed = {"steps": 5, "warmup_steps": 2, "forward_seconds": part, "backward_seconds": part} | fields
    values = {
        "source": "measured", "breakdown": None, "curve": None, "max_batch_size": None,
        "device": DeviceFacts(type=device, name="Big GPU", total_bytes=80 * GIB),
        "measurement": Measurement(**(timed if runs or device == "cpu" else fields)),
        "peak_allocated_bytes": predicted.peak_allocated_bytes - allocated if runs else 0,
        "peak_reserved_bytes": predicted.peak_reserved_bytes - reserved if runs else 0,
        "peak_process_bytes": predicted.peak_process_bytes if runs else GIB // 2,
    }  # fmt: skip
    if runs or device == "cpu":
        values |= {"step_seconds": step, "samples_per_second": predicted.cell.batch_size / seconds}
    return replace(predicted, **{**values, **own})


def build_breakdown(total):
    """Return a breakdown of which half is the encoder's and a quarter the backbone's."""
    half, quarter = total // 2, total // 4
    return Breakdown(
        phase="forward",
        allocated_bytes=total,
        by_kind={"parameters": total - half - quarter, "activations": half + quarter},
        activations={
            "encoder": {"attention maps": half // 2, "feed-forward": half - half // 2},
            "backbone": {"feature maps": quarter},
        },
    )


def build_curve(need):
    """Return a curve of two steps in which the reserved bytes reach what the process needs."""
    return MemoryCurve(
        allocated_bytes=(0, need // 4, need // 2, need // 4, need // 2),
        reserved_bytes=(0, need // 4, need, need, need),
        phases=((0, "setup"), (1, "forward"), (2, "backward")),
        steps=(1, 3),
    )


def build_oom(message="CUDA out of memory. Tried to allocate 472.00 MiB."):
    """Return the event of a run that runs out in the encoder."""
    return OutOfMemory(
        step=1, phase="forward", module="model.encoder.layers.3", op="aten.relu.default",
        requested_bytes=470 * MIB, segment_bytes=472 * MIB, allocated_bytes=22 * GIB, reserved_bytes=23 * GIB,
        message=message,
    )  # fmt: skip


def read_packed(text, name="figure-data"):
    """Return the data of a page that its scripts read."""
    packed = re.search(rf'id="{name}">(.*?)</script>', text)[1]
    return json.loads(gzip.decompress(base64.b64decode(packed)))


@pytest.fixture(scope="session")
def packed():
    """Read the data of a page; see `read_packed`."""
    return read_packed


@pytest.fixture
def make_result():
    """Build one result; see `build_result`."""
    return build_result


@pytest.fixture
def measure():
    """Build a real run of a predicted cell; see `build_measured`."""
    return build_measured


@pytest.fixture
def grid():
    """Two resolutions, two camera counts, two allocator settings, three batch sizes: 24 cells."""
    return tuple(
        _grid_cell(resolution, cameras, conf, batch)
        for conf in (EXPANDABLE, "")
        for cameras in (2, 1)
        for resolution in ("224x224", "640x480")
        for batch in (32, 8, 128)
    )


def _grid_cell(resolution, cameras, conf, batch):
    """Return a cell that takes 1 GiB and, per sample, 0.25 or 0.05 GiB; expandable segments take 5 % less."""
    per_sample = (0.25 if resolution == "640x480" else 0.05) * cameras * (0.95 if conf else 1)
    limit = int(23 / per_sample)
    return build_result(
        verdict="fits" if batch <= limit else "oom", need=int((1 + per_sample * batch) * GIB), limit=limit,
        tokens=(300 if resolution == "640x480" else 50) * cameras + 2,
        resolution=resolution, cameras=cameras, alloc_conf=conf, batch_size=batch,
    )  # fmt: skip


@pytest.fixture
def grounding():
    """A CPU run, as anything with the right attributes."""
    return SimpleNamespace(
        policy="act", overrides={}, cameras=2, resolution="640x480", batch_size=2, encoder_tokens=602,
        output_shape=(2, 50, 6), forward_seconds=0.5, backward_seconds=1.25, update_seconds=2.0,
        torch_threads=2, versions={"torch": "2.11.0"},
    )  # fmt: skip


@pytest.fixture(scope="session")
def chromium():
    """The path of a Chromium; a skip where there is none, a failure where one is required."""
    names = ("chromium", "chromium-browser", "google-chrome")
    found = os.environ.get("ACTPROF_CHROMIUM") or next(filter(None, map(shutil.which, names)), None)
    if found:
        return found
    message = f"no browser: none of {', '.join(names)} is installed, and ACTPROF_CHROMIUM is not set"
    if os.environ.get("ACTPROF_REQUIRE_BROWSER") == "1":
        pytest.fail(f"{message}, while ACTPROF_REQUIRE_BROWSER=1 asks for one")
    pytest.skip(message)


ARGUMENTS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip


@pytest.fixture(scope="session")
def browser(chromium):
    """One browser for all pages."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def open_file(browser):
    """Return a function that opens a page without a network; at the end nobody may have complained."""
    complaints, contexts = [], []

    def refuse(route):
        complaints.append(f"asked for {route.request.url}")
        route.abort()

    def opened(path, *, width=1280, height=900, scheme="light", **options):
        size = {"width": width, "height": height}
        contexts.append(browser.new_context(viewport=size, color_scheme=scheme, **options))
        contexts[-1].route(lambda url: not url.startswith("file:"), refuse)
        page = contexts[-1].new_page()
        page.on("console", lambda message: complaints.append(message.text) if message.type != "log" else None)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto(path.as_uri())
        page.wait_for_selector("html[data-ready=true]")
        return page

    yield opened
    for context in contexts:
        context.close()
    assert [] == complaints
