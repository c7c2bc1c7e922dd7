"""What a run takes of its machine's own memory and of /dev/shm, beside what there is; and its traps.

What it needs is always told. What there is, only where it is known: this machine's where the run is for the
GPU in it, and the /dev/shm of a container that the command itself starts.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from actprof.cell_field import parse_resolution
from actprof.loading.host_memory import (
    DECODER_BYTES,
    DECODERS_VARIABLE,
    DEFAULT_DECODERS,
    LIBRARIES,
    STATISTICS,
    HostMemory,
    Loading,
    cached_decoders,
    host_memory,
    sample_columns,
    video_files,
)
from actprof.loading.machine_memory import MachineMemory, machine_memory
from actprof.policies import policy_names, policy_spec
from actprof.policies.facts import PolicyFacts
from actprof.policies.lerobot_versions import bounds_decoders, lerobot_version
from actprof.preflight_check.dataset_shapes import Shapes
from actprof.preflight_check.image_transforms import transformed_size
from actprof.preflight_check.named_values import flag_values
from actprof.preflight_check.policy_inputs import Inputs
from actprof.preflight_check.training_run import TrainingRun
from actprof.preflight_check.trap import Trap
from actprof.training_command.command_line import CommandLine
from actprof.units import GIB, ceil_div, format_bytes
from actprof.versions import UNKNOWN, package_version

TORCHCODEC = "torchcodec"


@dataclass(frozen=True, slots=True, kw_only=True)
class HostNeed:
    """What a run needs of its machine, and what that has.

    Attributes:
        need: while it trains; None where that cannot be told.
        weights_bytes: of all processes, while lerobot builds the policy on the CPU, before workers start.
        loading: what the need was worked out from.
        machine: what is free where the run is; all None where that is not known.
        unknown: why there is no need.
    """

    need: HostMemory | None = None
    weights_bytes: int = 0
    loading: Loading | None = None
    machine: MachineMemory = field(default_factory=MachineMemory)
    unknown: str = ""

    @property
    def total_bytes(self) -> int:
        """The most that all processes hold at once, at the start or while they train."""
        if self.need is None:
            return 0
        return max(self.need.total_bytes, self.need.processes * self.need.main_bytes + self.weights_bytes)


def host_need(run: TrainingRun, command: CommandLine, loading: Loading, *, here: bool) -> HostNeed:
    """Return what `run` needs of its machine's memory, without the weights.

    Args:
        run: as lerobot understands the command.
        command: in whose container it runs, if in any.
        loading: of `run_loading`, with the processes that train on one machine.
        here: whether that is this one.
    """
    if run.streaming:
        return HostNeed(unknown="what a streamed dataset buffers on the host is not known")
    machine = machine_memory() if here else MachineMemory()
    if command.isolated or not here:  # a container has a /dev/shm of its own
        machine = replace(machine, shm_bytes=command.shm_bytes)
    return HostNeed(need=host_memory(loading, _libraries(run)), loading=loading, machine=machine)


def with_weights(host: HostNeed, facts: PolicyFacts | None) -> HostNeed:
    """Return `host` with the weights that each process holds until they are on its GPU."""
    if facts is None or host.need is None:
        return host
    return replace(host, weights_bytes=host.need.processes * sum(row.bytes for row in facts.parameters))


def run_loading(run: TrainingRun, command: CommandLine, shapes: Shapes | None, inputs: Inputs) -> Loading:
    """Return how one process of a run loads its data; without `shapes`, of a dataset as the inputs say."""
    seen = command.seen_environment()
    features = shapes.features if shapes is not None and shapes.features else _features(inputs)
    cameras = {
        key: feature for key, feature in features.items() if feature.get("dtype") in ("video", "image")
    }
    windows = {"action": run.horizon} if run.horizon else {}
    windows |= {key: run.history for key in features if key.startswith("observation.") and run.history}
    decodes = any(feature["dtype"] == "video" for feature in cameras.values()) and _decodes(run, command)
    return Loading(
        batch_size=run.batch_size,
        columns=sample_columns(features, windows, _transformed(run, shapes)),
        workers=run.num_workers,
        prefetch_factor=run.prefetch_factor,
        start_method=run.start_method,
        decoders=cached_decoders(_count_files(shapes, len(cameras)), seen) if decodes else 0,
        statistics=STATISTICS * len(cameras) if run.imagenet_statistics else 0,
        stored_images=any(feature["dtype"] == "image" for feature in cameras.values()),
        loaders=2 if run.held_out else 1,
    )


def _features(inputs: Inputs) -> dict[str, Mapping[str, Any]]:
    """Return the features of a dataset that gives a policy these inputs: videos, vectors, indices."""
    sizes = map(parse_resolution, inputs.resolutions)
    found: dict[str, Mapping[str, Any]] = {
        f"observation.images.camera{index}": {"dtype": "video", "shape": [height, width, 3]}
        for index, (width, height) in enumerate(sizes)
    }
    found["observation.state"] = {"dtype": "float32", "shape": [inputs.state_dim]}
    found["action"] = {"dtype": "float32", "shape": [inputs.action_dim]}
    indices = dict.fromkeys(("frame_index", "episode_index", "index", "task_index"), "int64")
    own = {"timestamp": "float32", **indices}
    return {**found, **{name: {"dtype": dtype, "shape": [1]} for name, dtype in own.items()}}


def _transformed(run: TrainingRun, shapes: Shapes | None) -> dict[str, tuple[int, int]]:
    if shapes is None or run.image_transforms is None:
        return {}
    sizes = {key: transformed_size(*size, run.image_transforms) for key, size in shapes.cameras.items()}
    return {key: (size.width, size.height) for key, size in sizes.items() if not size.unknown}


def _decodes(run: TrainingRun, command: CommandLine) -> bool:
    """Tell whether torchcodec decodes: where nobody says, it does if it is there, as it is with lerobot."""
    flags = flag_values(command.arguments)
    if run.video_backend == TORCHCODEC or {"dataset.video_backend", "config_path"} & set(flags):
        return run.video_backend == TORCHCODEC
    return package_version(TORCHCODEC) != UNKNOWN or package_version("lerobot") == UNKNOWN


def _count_files(shapes: Shapes | None, cameras: int) -> int:
    """Return a dataset's video files; where they are not on disk, one for each episode and camera at most."""
    if shapes is None:
        return 0
    there = video_files(Path(shapes.source).parent.parent) if Path(shapes.source).is_file() else []
    return len(there) or shapes.episodes * cameras


def _libraries(run: TrainingRun) -> list[str]:
    """Return the libraries that lerobot imports because they are installed."""
    if package_version("lerobot") != UNKNOWN:
        return [name for name in LIBRARIES if package_version(name) != UNKNOWN]
    needs = run.policy_type in policy_names() and bool(policy_spec(run.policy_type).extra)
    return list(LIBRARIES) if needs else []


# -- traps ---------------------------------------------------------------------------------------------


def host_traps(need: HostNeed) -> Iterator[Trap]:
    """Yield what of a run's machine is too small, and what grows there without end."""
    if need.need is None or need.loading is None:
        return
    yield from _of_shared_memory(need.need, need.loading, need.machine.shm_bytes)
    free, total = need.machine.free_bytes, need.total_bytes
    if free is not None and total > free:
        limit = " within its control group's limit" if need.machine.is_limited else ""
        less = f"; each worker less saves {_rough(_each_worker(need.need))}" if need.need.workers else ""
        yield Trap(
            "host_memory",
            f"the run takes about {_rough(total)} of the machine's memory, and {_rough(free)} is "
            f"free{limit}: Linux ends it when the rest is used up{less}.",
        )
    yield from _of_decoders(need.need, need.loading)


def _of_shared_memory(need: HostMemory, loading: Loading, there: int | None) -> Iterator[Trap]:
    if there is None or need.all_shm_bytes <= there:
        return
    first = need.processes * need.batch_bytes > there
    when = "at the first batch" if first else "as soon as more of them are ready than it holds"
    most = there // need.processes // loading.loaders // max(need.batch_bytes, 1) - 1
    workers, ahead = fitting(loading, most)
    fewer = f"--num_workers={workers}"
    if workers and ahead != loading.prefetch_factor:
        fewer += f" --prefetch_factor={ahead}"
    size = ceil_div(need.all_shm_bytes, GIB)
    yield Trap(
        "shared_memory",
        f"workers hand on batches in /dev/shm: up to {format_bytes(need.all_shm_bytes)}, and it has "
        f"{format_bytes(there)}; they end with a bus error {when}. Give a container more (docker run "
        f"--shm-size={size}g, or --ipc=host), or say {fewer}.",
        stops=first,
    )


def fitting(loading: Loading, batches: int) -> tuple[int, int]:
    """Return the most workers that are at most so many `batches` ahead, and how many each of them is."""
    for workers in range(loading.workers, 0, -1):
        ahead = min(loading.prefetch_factor, batches // workers)
        if ahead == loading.prefetch_factor or (ahead > 0 and bounds_decoders()):
            return workers, ahead  # --prefetch_factor came with 0.6.0, as bounded decoders did
    return 0, 0


def _each_worker(need: HostMemory) -> int:
    return (need.workers_bytes + need.shm_bytes) // need.workers


def _of_decoders(need: HostMemory, loading: Loading) -> Iterator[Trap]:
    if loading.decoders <= DEFAULT_DECODERS:
        return
    where = f"each of {need.processes * need.workers} workers" if need.workers else "the process"
    why = f"{DECODERS_VARIABLE} lets it" if bounds_decoders() else f"lerobot {lerobot_version()} does"
    yield Trap(
        "decoders_stay_open",
        f"{where} may keep {loading.decoders:,} video decoders open, about "
        f"{format_bytes(loading.decoders * DECODER_BYTES)}, as {why}: memory grows for hours. "
        + ("Leave the variable out" if bounds_decoders() else f"From 0.6.0 on {DEFAULT_DECODERS} stay open")
        + ", or say --dataset.video_backend=pyav, which keeps none.",
    )


# -- words ---------------------------------------------------------------------------------------------


def _rough(size: int) -> str:
    return format_bytes(size, digits=1)


def host_facts(host: HostNeed) -> list[tuple[str, str]]:
    """Return the rows of a table on the host's memory: (name, text)."""
    need = host.need
    if need is None:
        return [("host memory", host.unknown)] if host.unknown else []
    parts = [f"main {_rough(need.main_bytes)}"]
    if need.workers:
        workers = "1 worker" if need.workers == 1 else f"{need.workers} workers"
        parts += [f"{workers} {_rough(need.workers_bytes)}", f"batches {_rough(need.shm_bytes)}"]
    text = " + ".join(parts)
    if need.processes > 1:
        text = f"{need.processes} x ({text})"
    free = host.machine.free_bytes
    text += f" = {_rough(need.total_bytes)}" + ("" if free is None else f" of {_rough(free)} free")
    if host.total_bytes > need.total_bytes:
        text += f"; {_rough(host.total_bytes)} while the policy is built"
    facts = [("host memory", f"about {text}")]
    if need.workers:
        there = host.machine.shm_bytes
        of = "" if there is None else f" of {format_bytes(there)}"
        facts.append(("in /dev/shm", f"up to {format_bytes(need.all_shm_bytes)}{of}"))
    return facts
