"""Memory snapshots of PyTorch: replayed, checked, written as pages."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from actprof.progress import Listener, Progress, nobody

if TYPE_CHECKING:
    from actprof.snapshots.recording import Recording
    from actprof.snapshots.replay_recording import SnapshotReplay
    from actprof.snapshots.verify import Verification


def replay_snapshot(  # noqa: PLR0913 - the options of a command
    path: str | Path,
    *,
    device: int | None = None,
    gpu: str | None = None,
    capacity: str | int | None = None,
    alloc_conf: str | None = None,
    compare: Sequence[str] = (),
    torch_version: str | None = None,
    listener: Listener = nobody,
) -> SnapshotReplay:
    """Replay a memory snapshot of PyTorch as it was recorded, then under other settings.

    Args:
        path: a file of `torch.cuda.memory._dump_snapshot`.
        device: number of the GPU in it; the first one with events if left out.
        gpu: a GPU of the catalogue to replay on.
        capacity: memory of the device to replay on, like `"23.69GiB"`; the CUDA context comes out of it.
        alloc_conf: a PYTORCH_CUDA_ALLOC_CONF to replay under.
        compare: more of them, one column each.
        torch_version: the release whose rules are meant, like `"2.11"`.
        listener: told the bytes while the file is read, then the label of each replay before it begins.

    Raises:
        UsageError: a setting or GPU that cannot be, or (as `SnapshotError`) a file that cannot be used.
    """
    from actprof.snapshots.replay_recording import replay_recording
    from actprof.snapshots.what_if_replay import make_questions

    questions = make_questions(gpu=gpu, capacity=capacity, alloc_conf=alloc_conf, compare=compare)
    recording = _open(path, device, torch_version, listener)
    return replay_recording(recording, questions, name=Path(path).name, progress=_replaying(listener))


def write_replay_page(replay: SnapshotReplay, path: str | Path) -> Path:
    """Write the page of a replay, one file that needs no network, and return its path.

    Raises:
        StoreError: the file cannot be written.
    """
    from actprof.report.page import write_page
    from actprof.report.replay_page import render_replay

    return write_page(path, render_replay(replay))


def verify_snapshot(
    path: str | Path,
    *,
    device: int | None = None,
    torch_version: str | None = None,
    listener: Listener = nobody,
) -> Verification:
    """Check the simulated allocator against a recorded one, event by event; options as in `replay_snapshot`.

    Raises:
        UsageError: a version that cannot be, or (as `SnapshotError`) a file that cannot be used.
    """
    from actprof.snapshots.verify import verify

    recording = _open(path, device, torch_version, listener)
    _replaying(listener)("as recorded")
    return verify(recording)


def _open(path: str | Path, device: int | None, torch_version: str | None, listener: Listener) -> Recording:
    from actprof.snapshots.recording import open_recording

    file = Path(path)
    size = file.stat().st_size if file.is_file() else 0
    reading = (f"reading {file.name}",)

    def tell(done: int) -> None:
        listener(Progress(total=size, done=done, running=reading))

    return open_recording(path, device=device, torch_version=torch_version, progress=tell)


def _replaying(listener: Listener) -> Callable[[str], None]:
    return lambda label: listener(Progress(running=(f"replaying: {label}",)))
