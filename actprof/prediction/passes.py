"""The memory of one forward and one reverse pass alone, as a probe of a policy measures it.

A fresh policy on the GPU is given inputs that were made for it: nothing of a data loader's batch, nothing of
an optimizer, and no step before.
"""

from __future__ import annotations

from actprof.allocator.caching import CachingAllocator
from actprof.allocator.device_memory import DriverAddresses
from actprof.cell import Cell
from actprof.hardware import Catalogue
from actprof.prediction.predict import conditions_of, device_of
from actprof.trace.cache import trace_for
from actprof.trace.model import PHASES

_DATA, _OPTIMIZER = PHASES.index("data"), PHASES.index("optimizer")


def passes_peak_bytes(cell: Cell, *, catalogue: Catalogue | None = None) -> int:
    """Return the peak of allocated bytes (`torch.cuda.max_memory_allocated`) of such a probe of `cell`.

    Raises:
        TraceError: the step cannot be traced without the device.
        UsageError: as `predict_cell`.
    """
    conditions = conditions_of(cell, device_of(cell, catalogue)).without_limit()
    program = conditions.program(trace_for(cell)[0], cell.batch_size)
    allocator = CachingAllocator(
        conditions.config,
        torch_version=conditions.torch_version,
        place=None if conditions.config.expandable_segments else DriverAddresses(),
    )
    starts = iter([*program.phase_starts, (len(program.events), _OPTIMIZER)])
    begin, phase = next(starts)
    addresses: dict[int, int] = {}
    for end, following in starts:
        for event in program.events[begin:end] if phase != _DATA else ():
            tensor = abs(event) - 1
            if event > 0:
                addresses[tensor] = allocator.malloc(program.sizes[tensor], program.streams[tensor])
            elif tensor in addresses:
                allocator.free(addresses.pop(tensor))
        if following == _OPTIMIZER:
            break
        begin, phase = end, following
    return allocator.peak_allocated_bytes
