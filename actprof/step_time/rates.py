"""How near to its card's peaks each kind of kernel comes: `rates.toml`, as one frozen record."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

_FILE = Path(__file__).with_name("rates.toml")


@dataclass(frozen=True, slots=True)
class MemoryRate:
    """What a kernel that moves memory takes: `seconds` at least, and a `share` of the bandwidth."""

    seconds: float
    share: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """What kernels reach; every number's source is the comment beside it in `rates.toml`.

    Attributes:
        memory: by kind of kernel, those that move memory.
        across: share of the L2 cache's bandwidth, of what is read or written across its fastest dimension.
        instructions: of the ordinary cores for each element whose places are worked out on their own.
        products: shares of the tensor cores' peak, by layout of a product or part of a convolution, or `half`
            for products in half precision.
        product_seconds, convolution_seconds: at least, of one of either.
        product_bandwidth, unaligned_bandwidth: shares of the bandwidth, where rows begin at multiples of 16
            bytes and where not.
        half_tile: of the share of a convolution, below 128 channels.
        few_channels: share of the tensor cores' peak of a convolution of fewer than eight.
        convolution_half: of the share, in half precision.
        tail_depth: multiply-adds by which the last wave of a convolution's blocks is late.
        attention, attention_half: share of the tensor cores' peak; attention_cores: of the ordinary cores'.
        cuda_cores, winograd: share of the ordinary cores' peak, by direct sums and by transforms.
        best: share of the peak that a card with ever slower tensor cores comes near to.
        best_bandwidth: share of the bandwidth that a card with ever slower memory comes near to.
        l2_hits: share of the bytes of a kernel that fits into the level-2 cache, which come from there.
        l2_least, l2_bytes_per_clock: bandwidth of the level-2 cache, over the memory's, and per
            multiprocessor.
        gap: seconds between two kernels that wait in the queue.
    """

    memory: Mapping[str, MemoryRate]
    across: float
    instructions: float
    products: Mapping[str, float]
    product_seconds: float
    convolution_seconds: float
    product_bandwidth: float
    unaligned_bandwidth: float
    half_tile: float
    few_channels: float
    convolution_half: float
    tail_depth: float
    attention: float
    attention_half: float
    attention_cores: float
    cuda_cores: float
    winograd: float
    best: float
    best_bandwidth: float
    l2_hits: float
    l2_least: float
    l2_bytes_per_clock: float
    gap: float


@cache
def default_rates() -> Rates:
    """Return the rates that come with actprof."""
    return rates_of(tomllib.loads(_FILE.read_text(encoding="utf-8")))


def rates_of(table: Mapping[str, Any]) -> Rates:
    """Return the rates of a table like that of `rates.toml`, whose least times are in microseconds."""
    memory = {kind: MemoryRate(us * 1e-6, share) for kind, (us, share) in table["memory"].items()}
    return Rates(memory=memory, products=table["products"], **table["kernels"])
