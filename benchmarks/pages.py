"""Print the size of pages, and how soon a browser has painted and drawn them.

    python benchmarks/pages.py [PAGE.html]…

Without a page: the report of `scenarios/3090.yaml`, an explanation beside another, the replay of a recording,
the accuracy ledger, and the answer of one run. First paint is the browser's own figure, the median of several
openings from disk; drawn is when the last figure on the page is.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from playwright.sync_api import Browser, sync_playwright
from rich.console import Console

from actprof import api
from actprof.cli.console import plain_table
from actprof.units import format_bytes

ROOT = Path(__file__).resolve().parents[1]
OPENINGS = 5
PAINTED = "performance.getEntriesByName('first-contentful-paint')[0].startTime"


def main() -> None:
    """Open each page several times, each time in a fresh context, and print a row for it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("pages", nargs="*", type=Path, metavar="PAGE.html")
    asked = parser.parse_args().pages
    names = filter(None, map(shutil.which, ("chromium", "google-chrome")))
    found = os.environ.get("ACTPROF_CHROMIUM") or next(names, None)
    if found is None:
        sys.exit("no browser: install Chromium, or say where it is with ACTPROF_CHROMIUM")
    table = plain_table("page", ">size", ">first paint", ">drawn")
    with TemporaryDirectory() as folder, sync_playwright() as playwright:
        pages = asked or make_pages(Path(folder))
        browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        open_page(browser, pages[0])  # the first one also starts what the browser needs itself
        for path in pages:
            times = [open_page(browser, path) for _ in range(OPENINGS)]
            paint, drawn = (median(some) for some in zip(*times, strict=True))
            size = format_bytes(path.stat().st_size)
            table.add_row(path.name, size, f"{paint:.0f} ms", f"{drawn:.0f} ms")
        browser.close()
    Console().print(table)


def make_pages(folder: Path) -> list[Path]:
    """Write one page of each kind."""
    scenario = api.load_scenario(ROOT / "scenarios" / "3090.yaml")
    api.sweep(scenario, mode="predict", cpu_check=False, out=folder / "sweep")
    run = {"batch_size": 64, "gpu": "RTX 3090"}
    explained, smaller = api.explain(**run), api.explain(**run, resolution="224x224")
    replay = api.replay_snapshot(ROOT / "tests" / "data" / "expandable-oom.pickle", compare=[""])
    shutil.copy(ROOT / "reports" / "accuracy" / "rows.jsonl", folder)
    api.accuracy(folder)
    return [
        folder / "sweep" / "report.html",
        api.write_explanation_page(explained, folder / "explain.html", versus=smaller),
        api.write_replay_page(replay, folder / "replay.html"),
        folder / "accuracy.html",
        api.write_answer(explained.result, folder / "answer.html"),
    ]


def open_page(browser: Browser, path: Path) -> tuple[float, float]:
    """Return milliseconds until the first paint, and until everything is drawn."""
    context = browser.new_context()
    page = context.new_page()
    page.goto(path.absolute().as_uri())
    page.wait_for_selector("html[data-ready=true]")
    drawn = page.evaluate("performance.now()")
    paint = page.evaluate(PAINTED)
    context.close()
    return paint, drawn


if __name__ == "__main__":
    main()
