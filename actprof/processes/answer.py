"""The side of a process that `ask_worker` started: one request on stdin, one JSON object per line back."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable
from typing import Any

from actprof.errors import UsageError
from actprof.processes.lifetime import end_with_parent
from actprof.records import from_plain, to_plain

Send = Callable[[dict[str, Any]], None]


def serve[T](arguments: list[str], kind: type[T], work: Callable[[T, Send], object]) -> None:
    """Answer the request on stdin, a record of `kind`, with the record that `work` makes of it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which ends us
    with os.fdopen(int(arguments[0]), "w", encoding="utf-8") as pipe:
        end_with_parent(int(arguments[1]))

        def send(message: dict[str, Any]) -> None:
            pipe.write(json.dumps(message) + "\n")
            pipe.flush()

        request = from_plain(kind, json.load(sys.stdin))
        send({"progress": "importing lerobot"})
        try:
            send({"answer": to_plain(work(request, send))})
        except UsageError as error:
            send({"usage_error": str(error)})
