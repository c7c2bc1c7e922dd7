"""Pages as pictures: parts of a page that is a file, taken by the Chrome or Chromium that is installed.

The one place that starts a browser, through choreographer (`pip install 'actprof[png]'`).
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from actprof.errors import StoreError, UsageError
from actprof.files import write_whole

if TYPE_CHECKING:
    from choreographer import Tab

_WIDTH, _HEIGHT, _SCALE = 1200, 900, 2
_SECONDS = 120.0  # for all pictures of a page
_POLL_SECONDS = 0.05
_IS_DRAWN = "location.href !== 'about:blank' && document.documentElement.dataset.ready === 'true'"
_SETTLED = """new Promise((done) => {
  document.documentElement.classList.add("picture");
  requestAnimationFrame(() => requestAnimationFrame(() => done(true)));
})"""
# The answer, and each section that has a figure: id, place and size.
_PLACES = """[...document.querySelectorAll("#answer, main > section:has(.plot, svg.map)")].map((part) => {
  const { x, y, width, height } = part.getBoundingClientRect(), edge = part.matches("section") ? 24 : 0;
  const place = { x: x + scrollX - edge, y: y + scrollY + 1 };
  return [part.id, { ...place, width: width + 2 * edge, height: height - 1 }];
})"""


def take_pictures(page: Path, place: Callable[[str], Path | None]) -> tuple[Path, ...]:
    """Write the answer of `page` and each of its sections with figures as a PNG file; return their paths.

    Args:
        page: an HTML file that `write_page` wrote.
        place: of each part's id (`answer`, `heatmaps`) the file to write, or None to leave it out.

    Raises:
        UsageError: choreographer or a browser is missing, or the browser does not start.
        StoreError: a file cannot be written.
    """
    if not page.is_file():
        raise StoreError(f"{page} is not there; write the page first")
    with ThreadPoolExecutor(1) as pool:  # a notebook has a loop of its own in this thread
        found = pool.submit(asyncio.run, _photograph(page.absolute().as_uri(), place)).result()
    written = []
    for name, data in found:
        target = place(name)
        if target is not None:
            write_whole(target, data)
            written.append(target)
    return tuple(written)


async def _photograph(url: str, place: Callable[[str], Path | None]) -> list[tuple[str, bytes]]:
    """Return (id, PNG) of the parts that have a place."""
    try:
        from choreographer import Browser
        from choreographer.errors import BrowserDepsError, BrowserFailedError, ChromeNotFoundError
    except ImportError as error:
        raise UsageError("pictures need choreographer: pip install 'actprof[png]'") from error
    try:
        browser = await Browser(headless=True)
    except ChromeNotFoundError as error:
        raise UsageError(
            "pictures need Chrome or Chromium, and none is found: install one (apt install chromium), or "
            "fetch one with choreo_get_chrome; BROWSER_PATH names one that stands elsewhere"
        ) from error
    except (BrowserFailedError, BrowserDepsError) as error:
        raise UsageError(f"the browser that is to draw pictures does not start: {error.args[0]}") from error
    try:
        async with asyncio.timeout(_SECONDS):
            tab = await browser.create_tab("about:blank")
            return await _pictures(tab, url, place)
    finally:
        await browser.close()


async def _pictures(tab: Tab, url: str, place: Callable[[str], Path | None]) -> list[tuple[str, bytes]]:
    size = {"width": _WIDTH, "height": _HEIGHT, "deviceScaleFactor": _SCALE, "mobile": False}
    await _ask(tab, "Emulation.setDeviceMetricsOverride", **size)
    light = [{"name": "prefers-color-scheme", "value": "light"}]
    await _ask(tab, "Emulation.setEmulatedMedia", features=light)
    await _ask(tab, "Page.navigate", url=url)
    while not await _evaluate(tab, _IS_DRAWN):  # noqa: ASYNC110 - no event of the browser's tells of it
        await asyncio.sleep(_POLL_SECONDS)
    await _evaluate(tab, _SETTLED)
    found = []
    for name, box in await _evaluate(tab, _PLACES):
        if place(name) is not None:
            asked = {"format": "png", "clip": {**box, "scale": 1}, "captureBeyondViewport": True}
            shot = await _ask(tab, "Page.captureScreenshot", **asked)
            found.append((name, base64.b64decode(shot["data"])))
    return found


async def _evaluate(tab: Tab, script: str) -> Any:
    asked = {"expression": script, "awaitPromise": True, "returnByValue": True}
    return (await _ask(tab, "Runtime.evaluate", **asked))["result"].get("value")


async def _ask(tab: Tab, command: str, **params: Any) -> dict[str, Any]:
    answer = await tab.send_command(command, params)
    if "error" in answer:
        raise UsageError(f"the browser refuses {command}: {answer['error'].get('message', '')}")
    result: dict[str, Any] = answer["result"]
    return result
