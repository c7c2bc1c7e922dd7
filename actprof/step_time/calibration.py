"""What `actprof calibrate` measured of one machine: its host, and how its GPU differs from what is predicted.

A file in the user's configuration folder, or the one that `ACTPROF_CALIBRATION` names. It holds for the GPU
that it was measured on; one without a GPU says what launching costs the host, and holds only where it is
named. A host that `ACTPROF_HOST` names comes before a calibration's.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from actprof.errors import UsageError
from actprof.files import config_folder
from actprof.records import from_plain, to_plain
from actprof.step_time.host import Host, named_host
from actprof.step_time.kernel import (
    ATTENTION,
    CONVOLUTION,
    NORM,
    NORM_INPUT,
    NORM_WEIGHT,
    POOL,
    POOL_BACKWARD,
    PRODUCT,
    REDUCTION,
    SOFTMAX,
    SPLIT_REDUCTION,
    STRIDED,
    Kernel,
)
from actprof.step_time.kernel_time import KernelTime
from actprof.versions import package_version

_log = logging.getLogger(__name__)


VARIABLE = "ACTPROF_CALIBRATION"
SCHEMA_VERSION = 1
MEMORY, STRIDES, SUMS, TF32, HALF, CONV = (
    "memory",
    "strided",
    "reductions",
    "products",
    "half products",
    "convolutions",
)
GROUPS = (MEMORY, STRIDES, SUMS, TF32, HALF, CONV)
_GROUP = {STRIDED: STRIDES, POOL: STRIDES, POOL_BACKWARD: STRIDES, CONVOLUTION: CONV}
_GROUP |= dict.fromkeys((REDUCTION, SPLIT_REDUCTION, NORM, NORM_INPUT, NORM_WEIGHT, SOFTMAX), SUMS)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeTime:
    """A short piece of work of a group of kernels: its seconds, and those predicted without calibration."""

    name: str
    group: str
    seconds: float
    predicted: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """What was measured.

    Attributes:
        gpu: name of the GPU in the catalogue; empty for none.
        host: what launching costs there; None when that was not measured.
        factors: measured over predicted seconds, by group of kernels; 1 where there is none.
        probes: from which the factors are.
        launching: seconds of the host for each pass of a small training step on the GPU.
        dispatching: the same on the CPU, which launches nothing.
        notes: what could not be measured, in sentences.
        date, versions: when, and with what.
    """

    gpu: str = ""
    host: Host | None = None
    factors: Mapping[str, float] = field(default_factory=dict)
    probes: tuple[ProbeTime, ...] = ()
    launching: Mapping[str, float] = field(default_factory=dict)
    dispatching: Mapping[str, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    date: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)
    schema_version: int = SCHEMA_VERSION

    def corrected(self, kernel: Kernel, time: KernelTime) -> KernelTime:
        """Return what a kernel takes here, from what is predicted of any machine."""
        factor = self.factors.get(group_of(kernel), 1.0)
        return KernelTime(time.least, time.arithmetic * factor, time.traffic * factor)

    def to_json(self) -> dict[str, Any]:
        """Return a dict of JSON values with one entry per field."""
        data: dict[str, Any] = to_plain(self)
        return data


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What a machine knows of speed: its calibration, whether that was named, and the host that was."""

    calibration: Calibration | None = None
    is_named: bool = False
    host: Host | None = None


_in_force: ContextVar[Known | None] = ContextVar("in_force", default=None)


def group_of(kernel: Kernel) -> str:
    """Return the group of kernels whose factor holds for a kernel."""
    if kernel.kind in {PRODUCT, ATTENTION}:
        return TF32 if kernel.dtype == "float32" else HALF
    return _GROUP.get(kernel.kind, MEMORY)


def own_calibration_file() -> Path:
    """Return where the user's own calibration is, if there is one."""
    return config_folder() / "calibration.json"


def calibration_file() -> Path:
    """Return where a calibration is looked for: `$ACTPROF_CALIBRATION`, else the user's own."""
    chosen = os.environ.get(VARIABLE)
    return Path(chosen) if chosen else own_calibration_file()


def calibration_of(gpu: str, aliases: tuple[str, ...] = ()) -> Calibration | None:
    """Return the calibration that holds for a GPU of the catalogue, None where there is none.

    Raises:
        UsageError: there is a file, and it cannot be read; or a host was named that nobody knows.
    """
    here = _in_force.get() or known_here()
    known, host = here.calibration, here.host
    if known is not None:
        holds = known.gpu in {gpu, *aliases} if known.gpu else here.is_named
        known = known if holds else None
    return known if host is None else replace(known or Calibration(), host=host)


def known_here() -> Known:
    """Return what this machine knows.

    Raises:
        UsageError: as `calibration_of`.
    """
    named = bool(os.environ.get(VARIABLE))
    return Known(calibration=stored_calibration(), is_named=named, host=named_host())


@contextmanager
def calibrated_by(known: Known) -> Iterator[None]:
    """Inside, what another machine knows holds, and nothing of this one's."""
    token = _in_force.set(known)
    try:
        yield
    finally:
        _in_force.reset(token)


def uncalibrated() -> AbstractContextManager[None]:
    """Inside, no calibration holds: what is predicted is the same on every machine."""
    return calibrated_by(Known())


def stored_calibration() -> Calibration | None:
    """Return the calibration that is there, for whichever GPU; None where there is none.

    Raises:
        UsageError: there is a file, and it cannot be read.
    """
    path = calibration_file()
    try:
        written = path.stat().st_mtime_ns
    except OSError as error:
        if os.environ.get(VARIABLE):
            raise UsageError(f"{path} cannot be read: {error.strerror or error}") from error
        return None
    return _read(str(path), written)


@lru_cache(maxsize=4)
def _read(path: str, _written: int) -> Calibration:
    try:
        found = from_plain(Calibration, json.loads(Path(path).read_text(encoding="utf-8")))
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror or error}") from error
    except (ValueError, TypeError, AttributeError) as error:
        why = "it has not the fields of one"
        raise UsageError(f"{path} is no calibration ({why}); make one with actprof calibrate") from error
    if found.schema_version == SCHEMA_VERSION:
        made, here = found.versions.get("actprof"), package_version("actprof")
        if found.factors and made != here:
            _log.warning("%s was made with actprof %s, and this is %s; calibrate anew", path, made, here)
        return found
    raise UsageError(
        f"{path} has schema {found.schema_version}, and {SCHEMA_VERSION} is read; calibrate anew"
    )
