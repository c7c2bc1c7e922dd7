"""Install releases of lerobot and torch beside each other and compare what ACT takes at batch size 16.

    make matrix
    python benchmarks/matrix.py --uv .uv/bin/uv --main LEROBOT_CHECKOUT --only main

Each combination gets an environment of its own below `build/matrix` (some 5 GB, most of it shared with uv's
cache), this checkout is installed into it as a user would, and traces ACT there. Where a release of lerobot
forbids a torch, that is set aside (`forced` in the table). Prints one row for each as a Markdown table, and
what their ops differ in from those of the first row. Half a minute each, and what the downloads take.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
GPU, BATCH_SIZE = "RTX 5060 Ti", 16
_MOST_OPS = 6


@dataclass(frozen=True)
class Combination:
    """One environment: releases of lerobot and, where it is not the one that comes with it, of torch.

    A `torchvision` is named with a torch that the release of lerobot forbids.
    """

    name: str
    lerobot: str
    torch: str = ""
    torchvision: str = ""

    @property
    def forced(self) -> bool:
        """Whether lerobot's own requirements are set aside."""
        return bool(self.torchvision)

    def wanted(self, main: str) -> list[str]:
        """Return what is asked of the installer; `main` is a checkout of lerobot's main branch."""
        lerobot = f"{main}[training]" if self.lerobot == "main" else f"lerobot[training]=={self.lerobot}"
        return [lerobot, *([f"torch=={self.torch}"] if self.torch else [])]

    def overrides(self) -> str:
        """Return what the installer takes instead of lerobot's own requirements."""
        names = {"torch": self.torch, "torchvision": self.torchvision}
        return "".join(f"{name}=={version}\n" for name, version in names.items() if self.forced)


COMBINATIONS = (
    Combination("lerobot-0.6.1", "0.6.1"),
    Combination("lerobot-0.6.0", "0.6.0"),
    Combination("lerobot-0.5.1", "0.5.1"),
    Combination("lerobot-0.4.4", "0.4.4"),
    Combination("main", "main"),
    Combination("torch-2.6", "0.4.4", "2.6.0"),
    Combination("torch-2.7", "0.6.1", "2.7.1"),
    Combination("torch-2.8", "0.6.1", "2.8.0"),
    Combination("torch-2.9", "0.6.1", "2.9.1"),
    Combination("torch-2.10", "0.6.1", "2.10.0"),
    Combination("torch-2.12", "0.6.1", "2.12.1", "0.27.1"),
    Combination("torch-2.13", "0.6.1", "2.13.0", "0.28.0"),
    Combination("torch-2.14", "0.6.1", "2.14.1", "0.29.1"),
    Combination("torch-2.15", "0.6.1", "2.15.0", "0.29.2"),
)


def main() -> None:
    """Build what is asked for, ask each, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--folder", type=Path, default=ROOT / "build" / "matrix")
    parser.add_argument("--uv", default="uv")
    parser.add_argument("--python", default=f"{sys.version_info.major}.{sys.version_info.minor}")
    parser.add_argument("--main", default="", help="checkout of lerobot's main branch")
    parser.add_argument("--only", nargs="*", metavar="NAME", help="of the combinations")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.inside:
        print(json.dumps(look()))
        return
    chosen = [c for c in COMBINATIONS if asked.only is None or c.name in asked.only]
    run(asked.uv, "build", "--out-dir", asked.folder / "dist", ROOT)
    wheel = max((asked.folder / "dist").glob("*.whl"), key=lambda path: path.stat().st_mtime)
    found = []
    for combination in chosen:
        if combination.lerobot == "main" and not asked.main:
            print("main is left out: --main names no checkout", file=sys.stderr)
            continue
        print(f"{combination.name} …", file=sys.stderr)
        found.append((combination, one(combination, asked, wheel)))
    print("\n".join(table(found)))


def one(combination: Combination, asked: argparse.Namespace, wheel: Path) -> dict[str, Any]:
    """Return what the environment of a combination says; `error` where it cannot be had."""
    folder = asked.folder.resolve() / combination.name
    try:
        environment(combination, folder, asked)
        moved = install(folder, asked, wheel)
        cache = {"ACTPROF_CACHE_DIR": str(folder / "actprof-cache")}
        inside = [folder / "bin" / "python", Path(__file__).resolve(), "--inside"]
        answer = run(*inside, cwd=folder, env={**os.environ, **cache})
    except subprocess.CalledProcessError as error:
        return {"error": (error.stderr or str(error)).strip().splitlines()[-1]}
    return {**json.loads(answer.splitlines()[-1]), "moved": moved}


def run(*command: str | Path, **options: Any) -> str:
    """Return what a command prints."""
    done = subprocess.run(command, check=True, capture_output=True, text=True, **options)
    return str(done.stdout)


def environment(combination: Combination, folder: Path, asked: argparse.Namespace) -> None:
    """Make the environment of a combination, unless it is there."""
    if (folder / "before.txt").exists():
        return
    run(asked.uv, "venv", "--clear", "--python", asked.python, folder)
    overrides = folder / "overrides.txt"
    overrides.write_text(combination.overrides(), encoding="utf-8")
    wanted = combination.wanted(asked.main)
    run(asked.uv, "pip", "install", "--python", folder, "--no-sources", "--overrides", overrides, *wanted)
    before = run(asked.uv, "pip", "freeze", "--python", folder)
    (folder / "before.txt").write_text(before, encoding="utf-8")


def install(folder: Path, asked: argparse.Namespace, wheel: Path) -> list[str]:
    """Install actprof into an environment and return the packages that are not what they were."""
    run(asked.uv, "pip", "install", "--python", folder, "--reinstall-package", "actprof", wheel)
    after = run(asked.uv, "pip", "freeze", "--python", folder)
    before = (folder / "before.txt").read_text(encoding="utf-8")
    return sorted(set(before.splitlines()) - set(after.splitlines()))


def look() -> dict[str, Any]:
    """Return what ACT takes here: bytes, how many ops of each name, and what is installed."""
    from actprof.cell import Cell
    from actprof.cudnn.library import installed_version
    from actprof.prediction.predict import predict_in_full
    from actprof.replay.replay import ReplayConditions, replay
    from actprof.versions import library_versions

    found = predict_in_full(Cell(gpu=GPU, batch_size=BATCH_SIZE))
    versions = {**library_versions(), "cuDNN": installed_version()}
    if found.trace is None:
        return {"versions": versions, "error": found.result.reason}
    plain = replay(found.trace, BATCH_SIZE, ReplayConditions())
    return {
        "versions": versions,
        "requested": plain.peak_requested_bytes,
        "allocated": plain.peak_allocated_bytes,
        "reserved": plain.peak_reserved_bytes,
        "predicted_allocated": found.result.peak_allocated_bytes,
        "predicted_reserved": found.result.peak_reserved_bytes,
        "max_batch_size": found.result.max_batch_size,
        "ops": Counter(found.trace.ops.names),
    }


_COLUMNS = {
    "requested": "requested", "allocated": "allocated", "reserved": "reserved",
    "predicted_allocated": "allocated, with cuDNN", "predicted_reserved": "reserved, with cuDNN",
    "max_batch_size": "largest batch",
}  # fmt: skip


def table(found: Iterable[tuple[Combination, dict[str, Any]]]) -> list[str]:
    """Return the lines of the table, and below it what the ops of each differ in from the first row's."""
    heads = ["lerobot", "torch", "cuDNN", *_COLUMNS.values(), "moved by installing actprof"]
    lines = ["| " + " | ".join(heads) + " |", "|---" * len(heads) + "|"]
    below: list[str] = []
    usual: dict[str, int] = {}
    for combination, answer in found:
        versions = answer.get("versions", {})
        torch = versions.get("torch", combination.torch) + (" (forced)" if combination.forced else "")
        cells = [versions.get("lerobot", combination.lerobot), torch, versions.get("cuDNN", "")]
        if "error" in answer:
            lines.append("| " + " | ".join([*cells, answer["error"].splitlines()[0]]) + " |")
            continue
        cells += [f"{answer[name]:,}" for name in _COLUMNS]
        lines.append("| " + " | ".join([*cells, ", ".join(answer.get("moved", ())) or "nothing"]) + " |")
        usual = usual or answer["ops"]
        if other := differing(usual, answer["ops"]):
            below.append(f"- {combination.name}: {other}")
    return [*lines, *([""] if below else []), *below]


def differing(usual: dict[str, int], other: dict[str, int]) -> str:
    """Return which ops one trace has more or less often than another: `+2 aten.add.Tensor, …`."""
    change = {name: other.get(name, 0) - usual.get(name, 0) for name in sorted({*usual, *other})}
    said = [f"{count:+} {name.removeprefix('aten.')}" for name, count in change.items() if count]
    return ", ".join(said[:_MOST_OPS]) + (", …" if len(said) > _MOST_OPS else "")


if __name__ == "__main__":
    main()
