"""Who may import what: most of actprof needs neither torch nor a GPU to be imported."""

import ast
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import actprof

ROOT = Path(actprof.__file__).parent
LIGHT = (
    "scenario", "hardware", "allocator", "replay", "prediction", "claims", "explanation", "advice", "ledger",
    "snapshots", "sweeps", "report", "running", "cli", "api", "preflight_check", "loading",
    "training_command",
)  # fmt: skip
HEAVY_MODULES = ("torch", "torchvision", "lerobot", "accelerate", "pynvml")

IMPORT_THEM = """
import importlib, importlib.abc, sys

class Blocked(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {blocked!r}:
            raise ImportError(name + " must not be imported here")
        return None

sys.meta_path.insert(0, Blocked())
for name in {names!r}:
    importlib.import_module(name)
"""


def modules_of(package):
    """Return the dotted names of a package's modules, itself first; nothing when it does not exist."""
    files = sorted((ROOT / package).rglob("*.py"))
    names = [".".join(("actprof", *file.relative_to(ROOT).with_suffix("").parts)) for file in files]
    return [name.removesuffix(".__init__") for name in names if not name.endswith("__main__")]


def top_level():
    """Return the modules beside the packages."""
    return [f"actprof.{file.stem}" for file in sorted(ROOT.glob("*.py")) if file.stem[0] != "_"]


# What a cached prediction imports.
TRACES_ON_DISK = ["actprof.trace", "actprof.trace.model", "actprof.trace.storage", "actprof.trace.cache"]


@pytest.mark.parametrize(
    "names",
    [
        *(modules_of(package) for package in LIGHT),
        ["actprof", *top_level()],
        TRACES_ON_DISK,
    ],
    ids=[*LIGHT, "top level", "traces on disk"],
)
def test_these_import_without_torch_lerobot_and_nvml(names):
    """With the heavy libraries out of reach, every module still imports."""
    program = IMPORT_THEM.format(blocked=set(HEAVY_MODULES), names=names)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert ("", 0) == (done.stderr, done.returncode)


def sources():
    """Return (path inside the package, syntax tree) of every module."""
    return [
        (str(p.relative_to(ROOT)), ast.parse(p.read_text(encoding="utf-8")))
        for p in sorted(ROOT.rglob("*.py"))
    ]


def imported(tree):
    """Return the top-level packages that a module imports, anywhere in it."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module.partition(".")[0])
    return names


@pytest.mark.parametrize(
    ("library", "packages"),
    [
        ("lerobot", ("policies", "measuring", "loading")),
        ("accelerate", ("policies", "measuring", "loading")),
        ("torch", ("policies", "trace", "measuring", "loading")),
        ("pynvml", ("measuring",)),
    ],
    ids=["lerobot", "accelerate", "torch", "pynvml"],
)
def test_a_library_stays_in_its_packages(library, packages):
    """Not even inside a function is it imported elsewhere."""
    outside = [
        path for path, tree in sources() if library in imported(tree) and not path.startswith(packages)
    ]
    assert [] == outside


STARTS_CUDA = {"init", "set_device", "synchronize", "current_device", "device_count", "mem_get_info",
               "memory_allocated", "max_memory_allocated", "reset_peak_memory_stats", "empty_cache",
               "get_device_properties", "current_stream", "Event", "Stream"}  # fmt: skip


def test_only_measure_touches_cuda():
    """A prediction must not take memory of the GPU that somebody trains on."""
    calls = [
        (path, node.lineno, node.attr)
        for path, tree in sources()
        if not path.startswith("measuring")
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and node.attr in STARTS_CUDA
        and isinstance(node.value, ast.Attribute)
        and node.value.attr == "cuda"
    ]
    assert [] == calls


def test_the_drawing_of_the_floors_is_what_the_linter_holds():
    """CONTRIBUTING draws the layers of import-linter's contract, floor by floor."""
    root = ROOT.parent
    contract = tomllib.loads((root / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"][0]
    drawn = (root / "CONTRIBUTING.md").read_text().partition("\n    __main__\n")[2].partition("\n\n")[0]
    assert contract["layers"] == ["__main__", *(line.strip() for line in drawn.splitlines())]
