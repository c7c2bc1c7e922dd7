"""The commands in README.md and docs/ whose output is shown there: found, run, compared, printed anew.

A block of ```console that begins with `$ actprof …` holds one command and lines of what it prints, 100
columns wide (or `$ COLUMNS=120 actprof …`); `…` alone on a line stands for lines that are left out. A comment
`<!-- not run: why -->` right above it says why no test runs it. Two things differ from machine to machine and
are not compared: what follows `took` at the beginning of a line, and versions with three numbers.

`python tests/docs/consoles.py [FILE …]` prints anew what the blocks show, as many lines as before.
"""

from __future__ import annotations

import difflib
import io
import json
import os
import re
import shlex
import sys
import tempfile
from collections.abc import Iterator
from contextlib import chdir, contextmanager, redirect_stdout, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from unittest.mock import patch

from actprof.cli import main

ROOT = Path(__file__).parents[2]
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
LEFT_OUT = "…"
_BLOCK = re.compile(
    r"(?:<!-- not run: (?P<reason>.+?) -->\n)?```console\n"
    r"(?P<command>\$ (?:COLUMNS=\d+ )?actprof (?:[^\n]*\\\n)*[^\n]*)\n(?P<shown>.*?)```",
    re.DOTALL,
)
_VERSION = re.compile(r"\b\d+\.\d+\.\d+[\w.+]*")


@dataclass(frozen=True)
class Block:
    """A command in a page, why it is not run (or nothing), and the lines that are shown of its output."""

    page: Path
    command: str
    reason: str
    shown: tuple[str, ...]

    @property
    def parts(self) -> list[list[str]]:
        """The shown lines before, between and after those that stand for others."""
        parts: list[list[str]] = [[]]
        for line in self.shown:
            if line == LEFT_OUT:
                parts.append([])
            else:
                parts[-1].append(line)
        return parts


def blocks(page: Path, text: str | None = None) -> Iterator[Block]:
    """Yield the commands of a page in their order."""
    for found in _BLOCK.finditer(page.read_text(encoding="utf-8") if text is None else text):
        shown = tuple(line.rstrip() for line in found["shown"].splitlines())
        yield Block(page, found["command"], found["reason"] or "", shown)


def make_place(folder: Path) -> Path:
    """Make the folder in which commands are run: scenarios, test data, ledger, the metadata of a dataset."""
    for name in ("scenarios", "tests"):
        (folder / name).symlink_to(ROOT / name)
    ledger = folder / "reports/accuracy"
    ledger.mkdir(parents=True)
    (ledger / "rows.jsonl").symlink_to(ROOT / "reports/accuracy/rows.jsonl")
    meta = folder / "data/so101/meta"
    meta.mkdir(parents=True)
    camera = {"dtype": "video", "shape": [480, 640, 3], "names": ["height", "width", "channels"]}
    joints = {"dtype": "float32", "shape": [6], "names": None}
    cameras = {f"observation.images.{name}": camera for name in ("front", "wrist")}
    features = {**cameras, "observation.state": joints, "action": joints}
    size = {"total_episodes": 75, "total_frames": 22458, "total_tasks": 1, "fps": 30}
    info = {"codebase_version": "v3.0", "robot_type": "so101", **size, "features": features}
    (meta / "info.json").write_text(json.dumps(info), encoding="utf-8")
    return folder


def run(command: str, place: Path) -> list[str]:
    """Return the lines that a command prints on stdout in that folder.

    What is traced already decides what `--fast` tells of: there it is what comes with actprof alone.
    """
    before, words = command.removeprefix("$ ").split("actprof", 1)
    arguments = shlex.split(words.replace("\\\n", " "), comments=True)
    columns = before.strip().removeprefix("COLUMNS=") or "100"
    told, settings = io.StringIO(), {"COLUMNS": columns}
    if "--fast" in arguments:
        settings["ACTPROF_CACHE_DIR"] = str(place / "cache")
    called = patch.object(sys, "argv", ["actprof", *arguments]), patch.dict(os.environ, settings)
    with chdir(place), called[0], called[1], redirect_stdout(told), suppress(SystemExit):
        main()
    return [line.rstrip() for line in told.getvalue().splitlines()]


def difference(block: Block, printed: list[str]) -> str:
    """Return what the block shows otherwise than it is printed, as a diff, or nothing."""
    lines, place, last = [_masked(line) for line in printed], 0, len(block.parts) - 1
    for number, part in enumerate(block.parts):
        wanted = [_masked(line) for line in part]
        starts = range(place, len(lines))
        if number in (0, last):  # the first stands at the beginning, the last at the end
            starts = starts[:1] if number == 0 else starts[len(starts) - len(part) :] if part else starts
        found = [start for start in starts if lines[start : start + len(part)] == wanted]
        if not found:
            return "\n".join(difflib.unified_diff(block.shown, printed, "shown", "printed", "", "", 99, ""))
        place = found[0] + len(part)
    return "" if last or place == len(lines) else f"there are {len(lines) - place} more lines"


def _masked(line: str) -> str:
    if line.split()[:1] == ["took"]:
        return "took"
    return _VERSION.sub("VERSION", line)


def renewed(block: Block, printed: list[str]) -> list[str]:
    """Return what the block should show: as many lines of each part, from what begins most like it.

    A line that differs in nothing that is compared stays as it is.
    """
    lines: list[str] = []
    place = 0
    for number, part in enumerate(block.parts):
        if number:
            lines.append(LEFT_OUT)
            if part:
                place = max(range(place, len(printed)), key=partial(_alike, printed, part[0]), default=place)
        end = len(printed) if number == len(block.parts) - 1 and part else place + len(part)
        lines += printed[place:end]
        place = end
    kept = {_masked(line): line for line in block.shown}
    return [kept.get(_masked(line), line) for line in lines]


def _alike(lines: list[str], wanted: str, at: int) -> int:
    return len(os.path.commonprefix([lines[at], wanted]))  # noqa: RUF071 - characters are meant


@contextmanager
def _any_place() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        yield make_place(Path(folder))


def renew(page: Path) -> None:
    """Print anew what a page shows, also of commands that no test runs."""
    text = page.read_text(encoding="utf-8")
    with _any_place() as place:

        def replaced(found: re.Match[str]) -> str:
            (block,) = blocks(page, found[0])
            lines = [f"{line}\n" for line in renewed(block, run(block.command, place))]
            return found[0].replace(found["shown"], "".join(lines)) if lines and found["shown"] else found[0]

        page.write_text(_BLOCK.sub(replaced, text), encoding="utf-8")


if __name__ == "__main__":
    for asked in [Path(name).resolve() for name in sys.argv[1:]] or PAGES:
        renew(asked)
