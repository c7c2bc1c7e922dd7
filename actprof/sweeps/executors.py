"""The engines that a sweep can run on, by name: this machine's worker processes, a Ray cluster, Slurm.

Each engine beside the first is an optional dependency, imported when it is asked for.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

from actprof.errors import UsageError
from actprof.processes.remote import RemoteExecutor

LOCAL, RAY, SLURM = ENGINES = ("local", "ray", "slurm")
_PACKAGES = {RAY: "ray", SLURM: "submitit"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Engine:
    """Which engine, and its settings.

    Attributes:
        name: of `ENGINES`.
        ray_address: of a Ray cluster that is there; a local one is started if left out.
        slurm: settings of submitit's jobs: `partition`, `time`, ...; `cluster` is slurm, local or debug.
        runs_per_job: how many runs a Slurm job answers one after the other.
    """

    name: str = LOCAL
    ray_address: str = ""
    slurm: Mapping[str, str] = field(default_factory=dict)
    runs_per_job: int = 50

    def check(self) -> None:
        """Refuse what does not go together, or is not installed.

        Raises:
            UsageError: names it, and the remedy.
        """
        if self.name not in ENGINES:
            raise UsageError(f"{self.name!r} is not an executor; choose one of {', '.join(ENGINES)}")
        if self.ray_address and self.name != RAY:
            raise UsageError("--ray-address is for --executor ray")
        if self.slurm and self.name != SLURM:
            raise UsageError("--slurm is for --executor slurm")
        package = _PACKAGES.get(self.name, "")
        if package and find_spec(package) is None:
            raise UsageError(
                f"--executor {self.name} needs {package}, which is not installed here "
                f"(pip install 'actprof[{self.name}]')"
            )


@contextmanager
def opened(engine: Engine, folder: Path, *, jobs: int | None = None) -> Iterator[RemoteExecutor | None]:
    """Yield the engine's executor, None for this machine's processes; what was started for it ends after.

    Args:
        engine: which, and its settings.
        folder: of the sweep, which Slurm's jobs share with this process.
        jobs: worker processes of a local Ray, or jobs of Slurm at a time.

    Raises:
        UsageError: as `Engine.check`, or the engine cannot be reached.
    """
    engine.check()
    if engine.name == RAY:
        from actprof.sweeps.executors_ray import RayExecutor

        with RayExecutor(engine.ray_address, jobs=jobs) as on_ray:
            yield on_ray
    elif engine.name == SLURM:
        from actprof.sweeps.executors_slurm import SlurmExecutor

        per_job = engine.runs_per_job
        with SlurmExecutor(folder / "jobs", engine.slurm, runs_per_job=per_job, jobs=jobs) as on_slurm:
            yield on_slurm
    else:
        yield None
