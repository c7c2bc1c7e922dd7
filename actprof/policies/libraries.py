"""Libraries beside lerobot and torch that a policy is built of: their versions, and what to do without them.

They come with extras of lerobot; nothing is imported here.
"""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, requires, version

from packaging.requirements import Requirement

from actprof.cell import Cell
from actprof.errors import UsageError
from actprof.policies import policy_spec
from actprof.versions import UNKNOWN, library_versions, package_version

# Whose code runs in a training step of a policy that needs an extra of lerobot.
_BUILT_OF = ("transformers", "diffusers")


def versions_for(cell: Cell) -> dict[str, str]:
    """Return the versions on which a training step of `cell` depends; of what is not installed, none."""
    built_of = _BUILT_OF if policy_spec(cell.policy).extra else ()
    return library_versions(*built_of, *(("peft",) if cell.peft else ()))


def missing_lerobot() -> str:
    """Return what is not installed of lerobot and torch, and how to get it; nothing when both are."""
    missing = [name for name in ("lerobot", "torch") if package_version(name) == UNKNOWN]
    return f"{missing[0]} is not installed here (pip install 'actprof[lerobot]')" if missing else ""


def require_lerobot(what: str) -> None:
    """Refuse what cannot be done without lerobot.

    Args:
        what: is to be done, as the subject of a sentence.

    Raises:
        UsageError: lerobot or torch is not installed.
    """
    if lacks := missing_lerobot():
        raise UsageError(f"{what} runs lerobot, but {lacks}")


def missing_packages(extra: str) -> tuple[str, ...]:
    """Return the packages of lerobot's `extra` that are not installed, sorted, with the versions asked for.

    Without lerobot it is lerobot that is missing.
    """
    try:
        asked = [Requirement(text) for text in requires("lerobot") or ()]
    except PackageNotFoundError:
        return ("lerobot",)
    missing: set[str] = set()
    for need in asked:
        # That of an extra alone: `extra == "smolvla" and python_version >= …`.
        if need.marker is None or need.marker.evaluate({"extra": ""}):
            continue
        if not need.marker.evaluate({"extra": extra.replace("_", "-")}):
            continue
        if need.name == "lerobot":
            missing.update(name for other in need.extras for name in missing_packages(other))
        elif not _is_installed(need):
            missing.add(f"{need.name}{need.specifier}")
    return tuple(sorted(missing))


def _is_installed(need: Requirement) -> bool:
    try:
        return need.specifier.contains(version(need.name), prereleases=True)
    except PackageNotFoundError:
        return False


class missing_libraries_are_named:  # noqa: N801 - reads as a sentence in a with statement
    """Turn a failing import into a `UsageError` that names the extra of lerobot that installs it."""

    def __init__(self, cell: Cell) -> None:
        self._spec = policy_spec(cell.policy)
        self._extra = self._spec.extra or ("peft" if cell.peft else "")

    def __enter__(self) -> None:
        """Nothing to set up."""

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _trace: object) -> None:
        """Re-raise what an import raises, also where it is what lerobot refuses a policy for."""
        cause = error.__cause__ if isinstance(error, UsageError) else error
        if isinstance(cause, ImportError) and self._extra:
            raise UsageError(
                f"{self._spec.title} cannot be built: {str(cause).partition('. Install it')[0]}; "
                f"pip install 'lerobot[{self._extra}]'"
            ) from cause
