"""Watch what ATen does without being noticed: ops and CPU memory as the profiler sees them.

A dispatch mode would not do here: while one is active, the autograd engine no longer accumulates in place
(`isTensorSubclassLike` in input_buffer.cpp), so that the engine under watch is not the engine alone.
"""

from dataclasses import dataclass

from torch.profiler import ProfilerActivity, profile, record_function

_MARK = "from here on"
# Python's entry to `sum_to`, which does not show when the engine calls it.
_WRAPPERS = {"aten::sum_to_size"}
# Python numbers in an expression become CPU tensors of 8 bytes, which no hook gets to see.
SCALAR = 8


@dataclass
class Watched:
    """What a program did.

    Attributes:
        ops: (name, shapes of the tensor arguments) of each op since the mark, in order.
        memory: (bytes, negative for a free; which allocation it is) since the start, in order.
    """

    ops: list
    memory: list

    @property
    def peak_bytes(self):
        """Highest total of what was alive at once."""
        live = peak = 0
        for size, _which in self.memory:
            live += size
            peak = max(peak, live)
        return peak


def watch(program):
    """Run `program(mark)`, which calls `mark()` where ops begin to count; return what it did on the CPU."""
    with profile(
        activities=[ProfilerActivity.CPU], record_shapes=True, profile_memory=True, acc_events=True
    ) as profiler:
        program(_mark)
    ops, memory, marks = [], [], []
    _sort_out(profiler.profiler.kineto_results.experimental_event_tree(), ops, memory, marks)
    return Watched([op[2:] for op in sorted(ops) if op[0] > marks[0]], _name_allocations(sorted(memory)))


def _mark():
    with record_function(_MARK):
        pass


def _sort_out(events, ops, memory, marks):
    for event in events:
        fields = event.extra_fields
        if hasattr(fields, "alloc_size"):
            memory.append((event.start_time_ns, len(memory), fields.alloc_size, fields.ptr))
        elif event.name == _MARK:
            marks.append(event.start_time_ns)
        elif event.name.startswith("aten::") and event.name not in _WRAPPERS:
            shapes = tuple(tuple(i.sizes) for i in fields.inputs if hasattr(i, "sizes"))
            ops.append((event.start_time_ns, len(ops), event.name, shapes))
        _sort_out(event.children, ops, memory, marks)


def _name_allocations(events):
    """Number the allocations, and sort the frees between two of them: their order changes nothing."""
    holders, named, frees = {}, [], []
    for _time, _order, size, address in events:
        if 0 < size <= SCALAR:
            holders[address] = None
        elif size > 0:
            named += sorted(frees)
            frees.clear()
            holders[address] = len(named)
            named.append((size, len(named)))
        elif (which := holders.pop(address, None)) is not None:
            frees.append((size, which))
    return named + sorted(frees)
