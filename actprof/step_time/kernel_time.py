"""How long one kernel takes on one GPU: the longer of arithmetic and traffic, at what its kind reaches.

Arithmetic goes in waves of tiles over the multiprocessors. Traffic that fits into the L2 cache is faster. How
much of the tensor cores a kernel uses is measured on one card; the faster they are, per clock and
multiprocessor, the more else holds them up, so that share is carried over to another card by

    1 / share = 1 / best + (1 / measured - 1 / best) * FLOPs per clock and multiprocessor, over the measured
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from typing import NamedTuple

from actprof.cudnn import TENSOR_CORES, WINOGRAD
from actprof.hardware.gpu import Gpu
from actprof.replay.kernel_bytes import architecture_of
from actprof.step_time.kernel import ATTENTION, CONVOLUTION, PRODUCT, Kernel, Product
from actprof.step_time.rates import Rates, default_rates

_HALVES = {"float16": "fp16_flops", "bfloat16": "bf16_flops"}
# Of cuBLAS and CUTLASS, rows by columns, and how near to the best each comes: estimates, as splits are.
_TILES = {(256, 128): 1.0, (128, 128): 1.0, (64, 256): 0.9, (64, 128): 0.75, (64, 64): 0.5, (32, 32): 0.2}
_SPLITS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128)
_LEAST_DEPTH, _SPLIT_FROM, _STEP = 128, 512, 32  # of a part of a split sum; of a sum that is split; of a tile
_SPLIT_SECONDS = 1.5e-6
_FULL_TILE = 128
_LITTLE_L2 = 4 * 2**20
_SECTOR_BYTES = 32  # the least that the L2 cache hands out
_TILE_FLOPS = 2 * _FULL_TILE * _FULL_TILE


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """What a kernel's time depends on of a GPU; rates per second, of tensor cores 0.0 without any."""

    multiprocessors: int
    bandwidth: float
    l2_bytes: float
    clock: float
    fp32: float
    tf32: float
    bf16: float
    fp16: float

    def peak(self, dtype: str) -> float:
        """Return the FLOP/s of tensor cores for a dtype, 0.0 for none."""
        return {"float16": self.fp16, "bfloat16": self.bf16}.get(dtype, self.tf32)


# The H100 that the rates are from.
MEASURED = Card(
    multiprocessors=132,
    bandwidth=3.35e12,
    l2_bytes=50 * 2**20,
    clock=1.98e9,
    fp32=67e12,
    tf32=494e12,
    bf16=989e12,
    fp16=989e12,
)


def card_of(gpu: Gpu) -> Card | None:
    """Return what is needed of a GPU; None where its bandwidth or FLOP/s are unknown."""
    if gpu.memory_bandwidth_bytes_per_s is None or gpu.fp32_flops is None:
        return None
    architecture = architecture_of(gpu)
    clock = architecture.clock_khz * 1e3
    lasting = min(1.0, (gpu.sustained_clock_hz or clock) / clock)
    bandwidth = gpu.memory_bandwidth_bytes_per_s
    if gpu.sustained_bandwidth_bytes_per_s is not None:
        bandwidth = min(bandwidth, gpu.sustained_bandwidth_bytes_per_s / default_rates().best_bandwidth)
    return Card(
        multiprocessors=architecture.multiprocessors,
        bandwidth=bandwidth,
        l2_bytes=float(gpu.l2_bytes or _LITTLE_L2),
        clock=clock * lasting,
        fp32=gpu.fp32_flops * lasting,
        tf32=(gpu.tf32_flops or 0.0) * lasting,
        bf16=(gpu.bf16_flops or 0.0) * lasting,
        fp16=(gpu.fp16_flops or 0.0) * lasting,
    )


class KernelTime(NamedTuple):
    """What a kernel takes: some seconds at least, and the longer of arithmetic and traffic."""

    least: float
    arithmetic: float
    traffic: float

    @property
    def seconds(self) -> float:
        """Return the seconds that the device works on the kernel."""
        return self.least + max(self.arithmetic, self.traffic)

    @property
    def is_arithmetic(self) -> bool:
        """Whether it computes for longer than it moves."""
        return self.arithmetic > self.traffic


def kernel_time(kernel: Kernel, card: Card, rates: Rates) -> KernelTime:
    """Return what the device takes for a kernel."""
    if kernel.kind == PRODUCT and kernel.product is not None:
        return _product(kernel, kernel.product, card, rates)
    if kernel.kind == CONVOLUTION:
        return _convolution(kernel, card, rates)
    if kernel.kind == ATTENTION:
        return _attention(kernel, card, rates)
    rate = rates.memory[kernel.kind]
    moving = max(
        traffic(kernel.bytes, rate.share, card, rates),
        kernel.across * _SECTOR_BYTES / (rates.across * _l2_bandwidth(card, rates)),
        kernel.elements * rates.instructions / (card.fp32 / 2),
    )
    return KernelTime(rate.seconds, 0.0, moving)


def traffic(moved: float, share: float, card: Card, rates: Rates) -> float:
    """Return the seconds in which so many bytes move, from memory or as far as they fit from the L2 cache."""
    cached = rates.l2_hits * min(1.0, max(0.0, 1.5 - moved / card.l2_bytes))
    slower = _bytes_per_clock(card) / _bytes_per_clock(MEASURED)
    reached = _carried(share, rates.best_bandwidth, slower)
    return moved * ((1 - cached) / (reached * card.bandwidth) + cached / (share * _l2_bandwidth(card, rates)))


def _carried(share: float, best: float, faster: float) -> float:
    """Return the share on another card, whose peak is `faster` for each clock of a multiprocessor."""
    return 1 / (1 / best + (1 / share - 1 / best) * faster) if share < best else share


def _bytes_per_clock(card: Card) -> float:
    return card.bandwidth / card.multiprocessors / card.clock


def _l2_bandwidth(card: Card, rates: Rates) -> float:
    return max(card.bandwidth * rates.l2_least, rates.l2_bytes_per_clock * card.multiprocessors * card.clock)


def carried_over(share: float, dtype: str, card: Card, rates: Rates) -> float:
    """Return the share of the tensor cores' peak on `card` of what has `share` on the measured one."""
    return _carried(share, rates.best, _per_clock(card, dtype) / _per_clock(MEASURED, dtype))


def _per_clock(card: Card, dtype: str) -> float:
    return card.peak(dtype) / card.multiprocessors / card.clock


def _product(kernel: Kernel, product: Product, card: Card, rates: Rates) -> KernelTime:
    half = kernel.dtype != "float32"
    share = rates.products["half" if half else product.layout]
    # An unaligned row is loaded element by element, however narrow these are.
    moved = kernel.bytes * (2 if half and not product.aligned else 1)
    bandwidth = rates.product_bandwidth if product.aligned else rates.unaligned_bandwidth
    arithmetic = _tiled(product, kernel.dtype, share, card, rates)
    return KernelTime(rates.product_seconds, arithmetic, traffic(moved, bandwidth, card, rates))


def _tiled(product: Product, dtype: str, share: float, card: Card, rates: Rates) -> float:
    """Return the seconds of the best tile: waves over the multiprocessors, each of one tile.

    A sum is split over blocks where that fills more multiprocessors; the parts are then added up.
    """
    best = float("inf")
    for (high, wide), efficiency in _TILES.items():
        if peak := card.peak(dtype):
            rate = peak * carried_over(share * efficiency, dtype, card, rates) / card.multiprocessors
        else:
            rate = card.fp32 * rates.cuda_cores / card.multiprocessors
        for rows, columns in {(high, wide), (wide, high)}:
            tiles = product.batch * ceil(product.rows / rows) * ceil(product.columns / columns)
            for split in _SPLITS if product.depth >= _SPLIT_FROM else _SPLITS[:1]:
                if split > 1 and product.depth / split < _LEAST_DEPTH:
                    break
                depth = ceil(product.depth / split / _STEP) * _STEP
                seconds = ceil(tiles * split / card.multiprocessors) * 2 * rows * columns * depth / rate
                if split > 1:
                    parts = 8 * split * product.batch * product.rows * product.columns
                    seconds += _SPLIT_SECONDS + parts / (card.bandwidth * 0.8)
                best = min(best, seconds)
    return best


def _convolution(kernel: Kernel, card: Card, rates: Rates) -> KernelTime:
    product, peak = kernel.product, card.peak(kernel.dtype)
    fill = 0.0
    if kernel.engine == TENSOR_CORES and peak and product is not None:
        share = rates.products[product.layout] if product.aligned else rates.few_channels
        share *= 1.0 if kernel.dtype == "float32" else rates.convolution_half
        if product.aligned and min(product.rows, product.columns) < _FULL_TILE:
            share *= rates.half_tile
        rate = peak * carried_over(share, kernel.dtype, card, rates)
    else:
        rate = card.fp32 * (rates.winograd if kernel.engine == WINOGRAD else rates.cuda_cores)
    if product is not None:
        fill = card.multiprocessors * _TILE_FLOPS * min(product.depth, rates.tail_depth)
    arithmetic = (kernel.flops + fill) / rate
    moving = traffic(kernel.bytes, rates.product_bandwidth, card, rates)
    return KernelTime(rates.convolution_seconds, arithmetic, moving)


def _attention(kernel: Kernel, card: Card, rates: Rates) -> KernelTime:
    peak = card.peak(kernel.dtype)
    share = rates.attention if kernel.dtype == "float32" else rates.attention_half
    rate = (
        peak * carried_over(share, kernel.dtype, card, rates) if peak else card.fp32 * rates.attention_cores
    )
    moving = traffic(kernel.bytes, rates.product_bandwidth, card, rates)
    return KernelTime(rates.product_seconds, kernel.flops / rate, moving)
