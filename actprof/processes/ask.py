"""Start a worker process, listen to it, and end it: whatever it does, there is an answer or an error.

Each run has a process of its own: `PYTORCH_CUDA_ALLOC_CONF` is read once per process, memory starts from
nothing, and a run that dies takes nobody along.
"""

from __future__ import annotations

import json
import os
import selectors
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import IO, Any

from actprof.errors import ActprofError, UsageError
from actprof.processes.lifetime import how_it_ended
from actprof.records import from_plain, to_plain

TIMEOUT_SECONDS = 600.0
_GRACE_SECONDS = 10.0
_POLL_SECONDS = 0.5
_LAST_LINES = 12
_LAST_BYTES = 16_384
_LONGEST_LINE = 1 << 24
_SHOWN = 80

Progress = Callable[[str], None]


class WorkerError(ActprofError):
    """A worker that gave no answer; as a text, the reason and the last lines of its stderr.

    Attributes:
        reason: what happened.
        stderr: the last lines that it wrote there.
    """

    def __init__(self, reason: str, stderr: tuple[str, ...] = ()) -> None:
        super().__init__("\n  ".join((reason, *stderr)))
        self.reason = reason
        self.stderr = stderr


def ask_worker[T](
    request: object,
    kind: type[T],
    command: Sequence[str],
    *,
    environment: Mapping[str, str | None] | None = None,
    timeout: float = TIMEOUT_SECONDS,
    progress: Progress | None = None,
    started: Callable[[int], None] | None = None,
    answered: Callable[[], None] | None = None,
) -> T:
    """Start `command`, hand it `request` and return its answer, a record of `kind`.

    Args:
        request: what to run, a record that travels as JSON.
        kind: of the answer.
        command: what to start; takes the file descriptor of the answer and our process id as arguments.
        environment: variables on top of ours; None takes one of ours away.
        timeout: seconds after which the process is ended.
        progress: told what the worker says that it is doing.
        started: told the process's id.
        answered: told when the answer is there, before the process ends and gives its memory back.

    Raises:
        WorkerError: it died, hung, or answered what nobody understands.
        UsageError: lerobot refuses the policy's config.
    """
    printed = _temporary_file()
    ours, theirs = os.pipe()
    with printed as stderr, os.fdopen(ours, "rb", buffering=0) as pipe:
        try:
            process = subprocess.Popen(
                [*command, str(theirs), str(os.getpid())],
                stdin=subprocess.PIPE, stdout=stderr, stderr=stderr, pass_fds=[theirs],
                env=_environment(environment or {}), start_new_session=True,
            )  # fmt: skip
        except OSError as error:
            raise WorkerError(f"no worker can be started ({error.strerror or error})") from error
        finally:
            os.close(theirs)
        try:
            if started is not None:
                started(process.pid)
            _hand_over(process, request)
            message = _listen(pipe, process, time.monotonic() + timeout, progress or (lambda _text: None))
            if answered is not None:
                answered()
        except _SilenceError as silence:
            _end(process)
            raise WorkerError(_explain(silence, process, timeout), _last_lines(stderr)) from None
        finally:
            _end(process)
    return _understand(message, kind)


class _SilenceError(Exception):
    """No message came, and why."""


def _temporary_file() -> IO[bytes]:
    try:
        return tempfile.TemporaryFile()
    except OSError as error:
        raise WorkerError(
            f"no temporary file can be made for what the worker prints ({error.strerror or error}); "
            "make room, or name another folder in TMPDIR"
        ) from error


def _environment(changes: Mapping[str, str | None]) -> dict[str, str]:
    merged = {**os.environ, **changes}
    return {name: value for name, value in merged.items() if value is not None}


def _hand_over(process: subprocess.Popen[bytes], request: object) -> None:
    if process.stdin is not None:
        with suppress(BrokenPipeError), process.stdin as stdin:  # a worker that died says so by its silence
            stdin.write(json.dumps(to_plain(request)).encode())


def _listen(
    pipe: IO[bytes], process: subprocess.Popen[bytes], deadline: float, progress: Progress
) -> dict[str, Any]:
    """Return the worker's last message.

    The end of the pipe is not waited for: a process that the worker left behind may hold it open.
    """
    with selectors.DefaultSelector() as selector:
        selector.register(pipe, selectors.EVENT_READ)
        unread = b""
        while True:
            left = deadline - time.monotonic()
            if left <= 0:
                raise _SilenceError("timeout")
            has_ended = process.poll() is not None  # asked first: what it wrote before is there to be read
            if not selector.select(0 if has_ended else min(left, _POLL_SECONDS)):
                if has_ended:
                    raise _SilenceError("end")
                continue
            chunk = os.read(pipe.fileno(), 1 << 16)
            if not chunk:
                try:
                    process.wait(_GRACE_SECONDS)
                except subprocess.TimeoutExpired:
                    raise _SilenceError("hung") from None
                raise _SilenceError("end")
            *lines, unread = (unread + chunk).split(b"\n")
            if len(unread) > _LONGEST_LINE:
                raise _SilenceError("garbage")
            for line in lines:
                message = _read(line)
                if "progress" not in message:
                    return message
                progress(str(message["progress"]))


def _read(line: bytes) -> dict[str, Any]:
    try:
        message = json.loads(line)
    except ValueError:
        message = None
    if not isinstance(message, dict) or not message.keys() & {"progress", "answer", "usage_error"}:
        raise _SilenceError(f"garbage: {line[:_SHOWN]!r}")
    return message


def _understand[T](message: dict[str, Any], kind: type[T]) -> T:
    if "usage_error" in message:
        raise UsageError(str(message["usage_error"]))
    try:
        return from_plain(kind, message["answer"])
    except (TypeError, ValueError, AttributeError) as error:
        raise WorkerError(f"the worker's answer is not understood ({error})") from error


def _explain(silence: _SilenceError, process: subprocess.Popen[bytes], timeout: float) -> str:
    kind = str(silence)
    if kind == "timeout":
        return f"the run gave no answer within {timeout:.0f} s and was ended; allow more with --timeout"
    if kind == "hung":
        return "the worker stopped talking without an answer, and was ended"
    if kind.startswith("garbage"):
        return f"the worker sent what is no message ({kind})"
    code = process.returncode
    return f"the worker {how_it_ended(code)}" + (" and without an answer" if code >= 0 else "")


def _end(process: subprocess.Popen[bytes]) -> None:
    """Leave no process behind: neither the worker nor what it started."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    if process.stdin is not None:
        with suppress(OSError):
            process.stdin.close()
    process.wait()


def _last_lines(stderr: IO[bytes]) -> tuple[str, ...]:
    stderr.seek(0, os.SEEK_END)
    stderr.seek(max(stderr.tell() - _LAST_BYTES, 0))
    lines = stderr.read().decode(errors="replace").splitlines()
    return tuple(line.rstrip() for line in lines if line.strip())[-_LAST_LINES:]
