"""Print what the commands take on this machine, beside their bars.

    python benchmarks/run.py            # everything, some four minutes on two cores
    python benchmarks/run.py --quick    # without the sweeps

Every figure is of whole processes, the median of several runs where runs are short. Traces are kept in a
fresh folder, so that cold means cold.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

ROOT = Path(__file__).resolve().parent.parent
ACTPROF = [sys.executable, "-m", "actprof"]
CELL = ["predict", "--set", "chunk_size=50", "--set", "n_action_steps=50", "--batch-size", "64"]


def seconds(command: list[str], *, runs: int = 1) -> float:
    """Return the median wall-clock seconds of `command`."""
    taken = []
    for _ in range(runs):
        start = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        taken.append(time.perf_counter() - start)
    return median(taken)


def imports_torch(arguments: list[str]) -> bool:
    """Return whether a command line imports torch."""
    code = (
        "import sys\nfrom actprof.cli import main\nsys.argv = ['actprof', *sys.argv[1:]]\n"
        "try:\n    main()\nexcept SystemExit:\n    sys.stderr.write(str('torch' in sys.modules))"
    )
    shown = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True
    )
    return shown.stderr.endswith("True")


def row(name: str, value: str, bar: str) -> None:
    """Print one line of the table."""
    print(f"| {name} | {value} | {bar} |", flush=True)


def commands() -> None:
    """Time the short commands, and a cold prediction beside the import that it cannot avoid."""
    row("`actprof --help`", f"{seconds([*ACTPROF, '--help'], runs=5):.2f} s", "0.5 s")
    row("… imports torch", str(imports_torch(["--help"])), "False")
    importing = seconds([sys.executable, "-c", "import lerobot.policies"], runs=2)
    cold = seconds([*ACTPROF, *CELL])
    row("`import lerobot.policies`", f"{importing:.1f} s", "")
    row("cold prediction beyond that import", f"{cold - importing:.1f} s", "10 s")
    row("prediction with a cached trace", f"{seconds([*ACTPROF, *CELL], runs=5):.2f} s", "1 s")
    row("… imports torch", str(imports_torch(CELL)), "False")


def sweeps(folder: Path) -> None:
    """Time the 210 cells of scenarios/3090.yaml without the check on the CPU, cold and with cached traces."""
    scenario = ROOT / "scenarios" / "3090.yaml"
    command = [*ACTPROF, "sweep", str(scenario), "--no-cpu-check", "--out", str(folder)]
    os.environ["ACTPROF_CACHE_DIR"] = str(folder / "cold")
    row("210-cell sweep, cold", f"{seconds(command):.0f} s", "120 s")
    row("210-cell sweep, cached traces", f"{seconds([*command, '--fresh']):.1f} s", "20 s")
    largest = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024**2
    jobs = os.cpu_count() or 1
    row(f"largest of its {jobs} + 1 processes", f"{largest:.2f} GiB", "3 GiB in all")


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="without the sweeps")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        os.environ["ACTPROF_CACHE_DIR"] = temporary
        print("| what | measured | bar |\n|---|---|---|")
        commands()
        if not options.quick:
            sweeps(Path(temporary))
    print("\nReplayed events per second:", flush=True)
    subprocess.run([sys.executable, str(ROOT / "benchmarks" / "allocator_rate.py")], check=True)


if __name__ == "__main__":
    main()
