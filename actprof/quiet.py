"""Keep what lerobot and its dependencies print at import from the user, unless they ask for it."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import warnings
from collections.abc import Iterator

VERBOSE_VARIABLE = "ACTPROF_VERBOSE"


def is_verbose() -> bool:
    """Return whether the user asked to see what the libraries print."""
    return os.environ.get(VERBOSE_VARIABLE, "") not in ("", "0")


@contextlib.contextmanager
def quiet_imports() -> Iterator[None]:
    """Swallow prints, warnings and log records below errors while lerobot is imported or set up."""
    if is_verbose():
        yield
        return
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with (
            warnings.catch_warnings(),
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(io.StringIO()),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
