"""At which addresses the CUDA driver puts new segments of a training process.

Ties between free blocks of one size are decided by address up to torch 2.11, so that the driver has a say in
how memory is cut up. Read off the recordings of one H100 (driver 580): room is taken in pieces of 32 MiB,
each below the last; what a segment leaves of its piece is filled first, the newest piece before older ones;
and when the first kernels are loaded the driver leaves a hole, of 416 MiB less the 64 that cuBLAS takes of
it, which is filled from below.
"""

from __future__ import annotations

from actprof.units import MIB

_TOP_ADDRESS = 0x7F00_0000_0000
_PIECE_BYTES = 32 * MIB
_HOLE_BYTES = (416 - 64) * MIB


class DriverAddresses:
    """Places segments one after another; call it with a segment's bytes for its address."""

    def __init__(self) -> None:
        self._lowest = _TOP_ADDRESS
        self._holes: list[tuple[int, int]] = []  # (address, bytes), those that are filled first in front

    def load_kernels(self) -> None:
        """Note that the first kernels are loaded: from now on there is the hole that this leaves."""
        self._lowest -= _HOLE_BYTES
        self._holes.append((self._lowest, _HOLE_BYTES))

    def __call__(self, size_bytes: int) -> int:
        """Return the address of a new segment of `size_bytes`."""
        for index, (address, room) in enumerate(self._holes):
            if size_bytes <= room:
                self._holes[index] = address + size_bytes, room - size_bytes
                return address
        pieces = -(-size_bytes // _PIECE_BYTES) * _PIECE_BYTES
        self._lowest -= pieces
        self._holes.insert(0, (self._lowest + size_bytes, pieces - size_bytes))
        return self._lowest
