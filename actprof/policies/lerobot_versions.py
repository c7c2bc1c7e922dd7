"""Which lerobot this is for, and what its training loop goes by where releases differ.

lerobot need not be installed: the newest release that was tested is taken then.
"""

from __future__ import annotations

from packaging.version import Version

from actprof.errors import TraceError, UnknownAnswerError
from actprof.versions import UNKNOWN, package_version

TESTED = ("0.4.4", "0.5.1", "0.6.0", "0.6.1", "0.6.2")
RELEASED = "0.6.1"  # the newest on PyPI; 0.6.2 is what lerobot's main branch calls itself


def lerobot_version() -> str:
    """Return the version of lerobot that answers are for: the one installed, else the newest release."""
    installed = package_version("lerobot")
    return RELEASED if installed == UNKNOWN else installed


def dtype_sets_autocast() -> bool:
    """Tell whether a policy's `dtype` decides about autocast: from 0.6.0 on, up to the accelerator config."""
    return Version("0.6.0") <= Version(lerobot_version()) and not configures_accelerator()


def configures_accelerator() -> bool:
    """Tell whether lerobot has flags of its own for mixed precision and accumulation (`--accelerator.…`)."""
    return Version(lerobot_version()) >= Version("0.6.2")


def amp_sets_autocast() -> bool:
    """Tell whether a policy's `use_amp` decides about autocast; other releases train as if it was off."""
    return Version(lerobot_version()).release == (0, 6, 1)


def frames_come_as_bytes() -> bool:
    """Tell whether frames of RGB video leave the dataset as bytes; until 0.5.1 they came as fractions."""
    return Version(lerobot_version()) >= Version("0.6.0")


def bounds_decoders() -> bool:
    """Tell whether a process keeps a bounded number of video decoders; until 0.5.1 it kept every one."""
    return Version(lerobot_version()) >= Version("0.6.0")


def require_release(least: str, what: str) -> None:
    """Stop where `what` follows a newer lerobot than the one installed.

    Raises:
        UnknownAnswerError: it is older than `least`; says so.
    """
    version = lerobot_version()
    if Version(version) < Version(least):
        raise UnknownAnswerError(f"{what} follows lerobot {least} and later, and {version} is installed here")


class another_lerobot_is_named:  # noqa: N801 - reads as a sentence in a with statement
    """Turn what only a lerobot that nobody tried can trip over into a `TraceError` that says so."""

    def __enter__(self) -> None:
        """Nothing to set up."""

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _trace: object) -> None:
        """Re-raise what a name or an argument raises that this lerobot does not have."""
        version = package_version("lerobot")
        if isinstance(error, AttributeError | ImportError | TypeError) and version not in (*TESTED, UNKNOWN):
            raise TraceError(
                f"lerobot {version} does not train as actprof follows it ({error}); tested are lerobot "
                f"{', '.join(TESTED)}"
            ) from error
