"""Show that two checkouts answer the same: JSON, CSV, printed text and exit codes, command by command.

    python benchmarks/same_answers.py ../before .

Each runs the commands below with a cache of its own, so that both trace for themselves; what differs from run
to run (times, dates, the code's own digest) is left out. Prints one line a command and ends with 1 if any
answer differs. Five minutes on two cores.
"""

from __future__ import annotations

import argparse
import difflib
import json
import os
import re
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

CELL = "--gpu 'RTX 3090' --cameras 2 --resolution 640x480"
SHAPES = f"{CELL} --state-dim 6 --action-dim 6"
TRAIN = "lerobot-train --policy.type=act --policy.push_to_hub=false --dataset.repo_id=me/pick"
COMMANDS = (
    f"predict {CELL} --batch-size 64 --json",
    f"predict {CELL} --batch-size 32 --precision bf16",
    f"predict {CELL} --set chunk_size=50 --set n_action_steps=50 --change fused_attention --json",
    "predict --gpu 'RTX 9999'",
    "predict --batch-size 0",
    f"explain {CELL} --batch-size 8 --json",
    f"explain {CELL} --batch-size 64",
    f"suggest {CELL} --batch-size 64 --json",
    f"suggest {CELL} --batch-size 64 --target-batch 48",
    "params --json",
    "gpus",
    "schema",
    "accuracy",
    f"preflight {SHAPES} --json -- {TRAIN} --batch_size=64",
    f"preflight {SHAPES} -- {TRAIN} --batch_size=16 --policy.use_amp=true",
    f"preflight {SHAPES} --no-remedies -- accelerate launch --num_processes=4 {TRAIN} --batch_size=16",
    f"preflight --gpu 'RTX 3090' -- {TRAIN} --batch_size=16",
    f"preflight --gpu 'RTX 3090' -- {TRAIN} --batch_sise=16",
    "replay tests/data/native-retry.pickle --compare expandable_segments:True --json",
    "replay tests/data/expandable-oom.pickle --verify",
    "sweep scenarios/3090.yaml --no-cpu-check --out {out}/3090",
    "sweep scenarios/so101-baseline.yaml --no-cpu-check --out {out}/so101-baseline",
    "sweep scenarios/accuracy.yaml --no-cpu-check --out {out}/accuracy",
    "check scenarios/so101-baseline.yaml --out {out}/so101-baseline",
    "check scenarios/3090.yaml",
)
_VOLATILE = {"timing", "created", "versions", "trace_seconds", "path"}


def without_volatile(value: Any) -> Any:
    """Return JSON values without what differs from run to run."""
    if isinstance(value, dict):
        return {name: without_volatile(item) for name, item in value.items() if name not in _VOLATILE}
    return [without_volatile(item) for item in value] if isinstance(value, list) else value


def plain(text: str, folder: str) -> list[str]:
    """Return the lines of a printed answer, JSON in its canonical form, without times and folders."""
    try:
        text = json.dumps(without_volatile(json.loads(text)), indent=1)
    except ValueError:
        text = re.sub(r"\b\d+(\.\d+)? (ms|s|min)\b", "SECONDS", text.replace(folder, "OUT"))
    return text.splitlines()


def answers(checkout: Path, folder: str) -> dict[str, list[str]]:
    """Return what each command prints in `checkout`, with its exit code and the CSV that it leaves."""
    environment = {**os.environ, "ACTPROF_CACHE_DIR": f"{folder}/cache", "COLUMNS": "100"}
    environment |= {"PYTHONPATH": str(checkout), "NO_COLOR": "1"}
    found = {}
    for command in COMMANDS:
        words = shlex.split(command.replace("{out}", folder))
        done = subprocess.run(
            [sys.executable, "-m", "actprof", *words],
            cwd=checkout, env=environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
        printed = [*plain(done.stdout, folder), *plain(done.stderr, folder)]
        csv = Path(folder, Path(words[1]).stem, "results.csv") if words[0] == "sweep" else None
        rows = csv.read_text().splitlines() if csv and csv.exists() else []
        found[command] = [f"exit code {done.returncode}", *printed, *rows]
    return found


def main() -> None:
    """Compare the two checkouts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("former", type=Path)
    parser.add_argument("present", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as other:
        former, present = answers(options.former.resolve(), one), answers(options.present.resolve(), other)
    different = 0
    for command in COMMANDS:
        lines = list(difflib.unified_diff(former[command], present[command], lineterm="", n=0))[2:]
        print(f"{'differs' if lines else 'same   '}  {len(present[command]):5} lines  actprof {command}")
        print("".join(f"    {line[:200]}\n" for line in lines[:12]), end="")
        different += bool(lines)
    print(f"{len(COMMANDS) - different} of {len(COMMANDS)} commands answer the same")
    sys.exit(bool(different))


if __name__ == "__main__":
    main()
