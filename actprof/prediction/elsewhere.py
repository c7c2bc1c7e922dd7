"""Predict for another machine: what decides an answer besides its cell travels with the task.

These are the traces, the GPUs, the versions and what is known of speed, each of the machine that asks; so its
rows are the same wherever they are worked out. What cannot travel is compared, and a machine on which it
differs is refused: actprof's own code, and cuDNN. Predicting needs neither torch nor lerobot.
"""

from __future__ import annotations

import pickle
import socket
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache

from actprof.cell import Cell
from actprof.cudnn import CudnnError
from actprof.cudnn.library import library
from actprof.errors import ActprofError
from actprof.hardware import Catalogue
from actprof.policies.libraries import missing_lerobot, versions_for
from actprof.prediction.predict import predict_cell
from actprof.processes.pool import PREDICTING_BYTES, TRACING_BYTES
from actprof.processes.remote import Errand, Needs, RemoteExecutor
from actprof.results import Result
from actprof.step_time.calibration import Known, calibrated_by, known_here
from actprof.trace.cache import NotLentError, cached_trace, key_text, lent, trace_for, usable_cache
from actprof.trace.model import Trace
from actprof.trace.storage import trace_from_bytes, trace_to_bytes
from actprof.versions import code_digest, library_versions, versions_of

# The code that a prediction comes from.
_DECIDES = (
    "trace", "policies", "allocator", "hardware", "kernels", "cudnn", "replay", "step_time", "prediction",
    "out_of_memory.py",
)  # fmt: skip
_POLICIES_NEED = ("transformers", "diffusers", "peft")


def prediction_code() -> str:
    """Return a digest of the code that decides a prediction."""
    return code_digest(*_DECIDES)


class OtherInstallationError(ActprofError):
    """A machine has not what the one that asks has, so that its answers could be others."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Circumstances:
    """What decides predictions on the machine that asks: see the module's docstring."""

    catalogue: Catalogue
    versions: Mapping[str, str]
    known: Known
    code: str
    cudnn: str

    def check(self) -> None:
        """Compare what does not travel with what is here.

        Raises:
            OtherInstallationError: it differs.
        """
        here, cudnn = socket.gethostname(), _cudnn_version()
        if self.code != prediction_code():
            raise OtherInstallationError(
                f"{here} has another actprof than this machine, so its answers could be others; install the "
                f"same there (this is {self.versions['actprof']})"
            )
        if self.cudnn != cudnn:
            raise OtherInstallationError(
                f"{here} has {_said(cudnn)} and this machine {_said(self.cudnn)}, so its answers could be "
                "others; have the same version of nvidia-cudnn-cu13 on both (pip install 'actprof[cudnn]')"
            )


def circumstances_here(catalogue: Catalogue) -> Circumstances:
    """Return those of this machine.

    Raises:
        UsageError: its calibration cannot be read.
    """
    return Circumstances(
        catalogue=catalogue,
        versions=library_versions(*_POLICIES_NEED),
        known=known_here(),
        code=prediction_code(),
        cudnn=_cudnn_version(),
    )


def _cudnn_version() -> str:
    try:
        return str(library().cudnnGetVersion())
    except CudnnError:
        return ""


def _said(cudnn: str) -> str:
    return f"cuDNN {cudnn}" if cudnn else "no cuDNN that answers"


@dataclass(frozen=True, slots=True)
class LentTrace:
    """A trace as it travels: the text of its cells' key, its bytes, and whether it came with actprof."""

    key: str
    data: bytes
    shipped: bool


class Lending:
    """What this machine lends to tasks elsewhere: its traces, and the circumstances of all."""

    def __init__(self, executor: RemoteExecutor, catalogue: Catalogue) -> None:
        self._executor = executor
        self.circumstances = executor.keep(pickle.dumps(circumstances_here(catalogue)))
        # by key and the only batch size that it is for, if it is: the least one, and what stands for it
        self._kept: dict[tuple[str, int | None], tuple[int, LentTrace]] = {}

    def trace(self, cell: Cell) -> LentTrace | None:
        """Return what stands for the trace of `cell` among arguments; None where this machine has none."""
        key = key_text(cell)
        for fixed in (None, cell.batch_size):
            least, stands = self._kept.get((key, fixed), (cell.batch_size + 1, None))
            if cell.batch_size >= least:
                return stands
        trace = cached_trace(cell)
        if trace is None:
            return None
        stands = self._executor.keep(LentTrace(key, trace_to_bytes(trace), trace.shipped))
        self._kept[key, trace.fixed_batch_size] = trace.batch_sizes[0], stands
        return stands


def predict_elsewhere(cell: Cell, circumstances: bytes, *traces: LentTrace) -> Result | Cell:
    """Answer one cell for the machine that lends all this; or return a cell whose trace is needed too.

    Raises:
        OtherInstallationError: this machine has not what that one has.
        UsageError: as `predict_cell`.
    """
    told = _told(circumstances)
    borrowed = [(one.key, _opened(one.data, one.shipped)) for one in traces]
    with versions_of(told.versions), calibrated_by(told.known), lent(borrowed):
        try:
            return predict_cell(cell, catalogue=told.catalogue)
        except NotLentError as missing:
            return missing.cell


def trace_elsewhere(cell: Cell, circumstances: bytes) -> bytes | None:
    """Return the trace of `cell` as bytes; None where the libraries are not those of the machine that asks.

    Raises:
        OtherInstallationError, TraceError, UsageError: as `predict_elsewhere` and `trace_for`.
    """
    told = _told(circumstances)
    if missing_lerobot() or any(told.versions.get(n) != v for n, v in versions_for(cell).items()):
        return None
    with usable_cache():
        return trace_to_bytes(trace_for(cell)[0])


@lru_cache(maxsize=2)
def _told(circumstances: bytes) -> Circumstances:
    told: Circumstances = pickle.loads(circumstances)  # noqa: S301 - of our own process
    told.check()
    return told


@lru_cache(maxsize=16)
def _opened(data: bytes, shipped: bool) -> Trace:  # noqa: FBT001 - a key of the cache
    return replace(trace_from_bytes(data), shipped=shipped)


PREDICT = Errand(predict_elsewhere, Needs(memory_bytes=PREDICTING_BYTES))
TRACE = Errand(trace_elsewhere, Needs(memory_bytes=TRACING_BYTES, alone=True))
