"""Memory snapshots of PyTorch: replayed, checked, written as pages."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from actprof.snapshots.outcome import SnapshotReplay
    from actprof.snapshots.verify import Verification


def replay_snapshot(
    path: str | Path,
    *,
    device: int | None = None,
    gpu: str | None = None,
    capacity: str | int | None = None,
    alloc_conf: str | None = None,
    compare: Sequence[str] = (),
    torch_version: str | None = None,
    listener: Callable[[str, int], None] | None = None,
) -> SnapshotReplay:
    """Replay a memory snapshot of PyTorch as it was recorded, then under other settings.

    Args:
        path: a file of `torch.cuda.memory._dump_snapshot`.
        device: number of the GPU in it; the first one with events if left out.
        gpu: a GPU of the catalogue to replay on.
        capacity: memory of the device to replay on, like `"24GiB"`; the CUDA context comes out of it.
        alloc_conf: a PYTORCH_CUDA_ALLOC_CONF to replay under.
        compare: more of them, one column each.
        torch_version: the release whose rules are meant, like `"2.11"`.
        listener: told `("read", bytes)` while the file is read, then `(label, 0)` before each replay.

    Raises:
        UsageError: a setting or GPU that cannot be, or (as `SnapshotError`) a file that cannot be used.
    """
    from actprof.snapshots.questions import make_questions
    from actprof.snapshots.recording import open_recording
    from actprof.snapshots.replay_recording import replay_recording

    tell = listener or (lambda _what, _amount: None)
    questions = make_questions(gpu=gpu, capacity=capacity, alloc_conf=alloc_conf, compare=compare)
    recording = open_recording(
        path, device=device, torch_version=torch_version, progress=lambda done: tell("read", done)
    )
    return replay_recording(recording, questions, name=Path(path).name, progress=lambda label: tell(label, 0))


def write_replay_page(replay: SnapshotReplay, path: str | Path) -> Path:
    """Write the page of a replay, one file that needs no network, and return its path.

    Raises:
        StoreError: the file cannot be written.
    """
    from actprof.report.replay_page import write_replay_page as write_page

    return write_page(replay, path)


def verify_snapshot(
    path: str | Path,
    *,
    device: int | None = None,
    torch_version: str | None = None,
    listener: Callable[[str, int], None] | None = None,
) -> Verification:
    """Check the simulated allocator against a recorded one, event by event; options as in `replay_snapshot`.

    Raises:
        UsageError: a version that cannot be, or (as `SnapshotError`) a file that cannot be used.
    """
    from actprof.snapshots.recording import open_recording
    from actprof.snapshots.verify import verify

    tell = listener or (lambda _what, _amount: None)
    recording = open_recording(
        path, device=device, torch_version=torch_version, progress=lambda done: tell("read", done)
    )
    tell("as recorded", 0)
    return verify(recording)
