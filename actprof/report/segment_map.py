"""All segments at one moment as a picture: what is in use, by whom, and what is free between it.

The segments stand one after the other, the largest first, and the row breaks like text. Each kind of block is
one SVG path, so that tens of thousands of blocks stay a small file.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from actprof.allocator.blocks import SegmentRecord
from actprof.report.palette import component_colour, kind_colour

WIDTH, ROWS, ROW_HEIGHT, ROW_PITCH = 1000, 32, 11, 14
_LEAST = 0.35  # of the width: a block that is narrower is still drawn so wide
SHOWN_HOLDERS = 6
OTHERS, FREE = "other holders", "free"


@dataclass(frozen=True, slots=True)
class Layer:
    """All blocks of one kind: name, colour (empty for free memory), the path's data, and its bytes."""

    name: str
    colour: str
    path: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class SegmentMap:
    """The picture: layers, the borders of segments as a path, and its height in units of `WIDTH`."""

    layers: tuple[Layer, ...]
    borders: str
    height: int
    row_bytes: int


def draw_segments(
    segments: tuple[SegmentRecord, ...], holders: Mapping[int, str], names: tuple[str, ...]
) -> SegmentMap:
    """Return the picture of `segments`.

    Args:
        segments: with their blocks.
        holders: address of a block in use to the name of who holds it.
        names: who gets a colour, the largest holder first.
    """
    total = sum(segment.total_bytes for segment in segments)
    row_bytes = max(1, -(-total // ROWS))
    shown = names[:SHOWN_HOLDERS]
    paths: dict[str, list[str]] = defaultdict(list)
    sizes: dict[str, int] = defaultdict(int)
    borders, position = [], 0
    for segment in sorted(segments, key=lambda s: (s.pool, -s.total_bytes, s.address)):
        x, y = position % row_bytes * WIDTH / row_bytes, position // row_bytes * ROW_PITCH
        borders.append(f"M{x:.1f} {y - 1}v{ROW_HEIGHT + 2}")
        for block in segment.blocks:
            holder = holders.get(block.address, OTHERS)
            name = FREE if block.state == "free" else holder if holder in shown else OTHERS
            offset = position + block.address - segment.address
            paths[name] += _cut(offset, block.size_bytes, row_bytes)
            sizes[name] += block.size_bytes
        position += segment.total_bytes
    colours = {name: component_colour(index) for index, name in enumerate(shown)}
    colours |= {OTHERS: kind_colour("optimizer state"), FREE: ""}
    order = [name for name in (*shown, OTHERS, FREE) if name in paths]
    layers = tuple(Layer(name, colours[name], "".join(paths[name]), sizes[name]) for name in order)
    height = max(1, -(-total // row_bytes)) * ROW_PITCH
    return SegmentMap(layers=layers, borders="".join(borders), height=height, row_bytes=row_bytes)


def _cut(offset: int, size: int, row_bytes: int) -> Iterator[str]:
    """Yield the rectangles of a block, one for each row that it touches."""
    while size > 0:
        row, at = divmod(offset, row_bytes)
        part = min(size, row_bytes - at)
        x, width = at * WIDTH / row_bytes, max(part * WIDTH / row_bytes, _LEAST)
        yield f"M{x:.2f} {row * ROW_PITCH}h{width:.2f}v{ROW_HEIGHT}h-{width:.2f}z"
        offset, size = offset + part, size - part
