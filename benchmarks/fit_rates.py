"""Fit what each kind of kernel reaches to profiles, by one rule, and print it beside what is shipped.

    python benchmarks/fit_rates.py [PROFILE ...]

Without profiles those of the H100 that the constants of `actprof/step_time/rates.toml` are from. The rule: of
each kind that moves memory, the least seconds and the share of the bandwidth with the smallest sum of
absolute differences over its kernels, on a grid; of products and convolutions, each share by itself likewise,
the others as they are shipped. Kernels count where an op launched as many as are predicted. Profiles that
were not given are printed as a test.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from profiles import GPU, OWN, SHARED, MatchedProfile, read_profile

from actprof.hardware import find_gpu
from actprof.step_time.kernel import CONVOLUTION, LAYOUT, NARROW_LAYOUT, PRODUCT, Kernel
from actprof.step_time.kernel_time import card_of, kernel_time
from actprof.step_time.rates import MemoryRate, Rates, default_rates

Pair = tuple[Kernel, float]  # and its microseconds
_LEAST = (0.7, 0.8, 0.9, *np.arange(1.0, 3.0, 0.1), *np.arange(3.0, 11.0, 0.5))
_SHARES = np.exp(np.arange(np.log(0.05), np.log(1.3), 0.02))
_CONVERSIONS = re.compile("nchwToNhwc|nhwcToNchw")
_ASIDE = re.compile(
    "nchwToNhwc|nhwcToNchw|Memset|init_device|reduce_kernel|ReduceSplit|reduce_wgrad|elementwise|splitK"
)


def main() -> None:
    """Print the fit."""
    given = [Path(argument) for argument in sys.argv[1:]] or list(SHARED)
    if not given:
        sys.exit(__doc__)
    fitted = [pair for path in given for pair in pairs_of(read_profile(path))]
    tested = [pair for path in (*SHARED, *OWN) if path not in given for pair in pairs_of(read_profile(path))]
    rates = default_rates()
    for kind in sorted({kernel.kind for kernel, _time in fitted} & rates.memory.keys()):
        best = min(_memory(rates, kind), key=lambda one, kind=kind: _error(one, _of(fitted, kind)))
        rate, shipped = best.memory[kind], rates.memory[kind]
        print(
            f'"{kind}" = [{rate.seconds * 1e6:.1f}, {rate.share:.2f}]  shipped [{shipped.seconds * 1e6:.1f}, '
            f"{shipped.share:.2f}]: {_told(best, _of(fitted, kind))}; test {_told(best, _of(tested, kind))}"
        )
    for name in rates.products:
        chosen = [pair for pair in fitted if _share_name(pair[0]) == name]
        best = min(_products(rates, name), key=lambda one, chosen=chosen: _error(one, chosen))
        test = [pair for pair in tested if _share_name(pair[0]) == name]
        print(
            f"{name} = {best.products[name]:.2f}  shipped {rates.products[name]:.2f}: {_told(best, chosen)}; "
            f"test {_told(best, test)}"
        )


def pairs_of(profile: MatchedProfile) -> Iterator[Pair]:
    """Yield the kernels that can be paired with one that the profiler saw."""
    by_row: dict[int, list[Kernel]] = {}
    for row, kernel in zip(profile.step.rows, profile.step.kernels, strict=True):
        by_row.setdefault(row, []).append(kernel)
    for row, kernels in by_row.items():
        seen = profile.seen.get(row, ())
        solving = [kernel for kernel in kernels if kernel.kind in {PRODUCT, CONVOLUTION}]
        if solving:
            mine = [one.microseconds for one in seen if not _ASIDE.search(one.name)]
            if len(mine) == len(solving):
                yield from zip(solving, mine, strict=True)
            converted = [kernel for kernel in kernels if kernel.kind in {LAYOUT, NARROW_LAYOUT}]
            theirs = [one.microseconds for one in seen if _CONVERSIONS.search(one.name)]
            if len(theirs) == len(converted):
                yield from zip(converted, theirs, strict=True)
        elif len(seen) == len(kernels):
            yield from zip(kernels, (one.microseconds for one in seen), strict=True)


def _of(pairs: Sequence[Pair], kind: str) -> list[Pair]:
    return [pair for pair in pairs if pair[0].kind == kind]


def _share_name(kernel: Kernel) -> str:
    product = kernel.product
    if product is None or (kernel.kind == CONVOLUTION and not product.aligned):
        return ""
    return "half" if kernel.kind == PRODUCT and kernel.dtype != "float32" else product.layout


def _memory(rates: Rates, kind: str) -> Iterator[Rates]:
    for least in _LEAST:
        for share in _SHARES:
            yield replace(rates, memory={**rates.memory, kind: MemoryRate(least * 1e-6, float(share))})


def _products(rates: Rates, name: str) -> Iterator[Rates]:
    for share in (one for one in _SHARES if one < rates.best):
        yield replace(rates, products={**rates.products, name: float(share)})


def _predicted(rates: Rates, pairs: Sequence[Pair]) -> np.ndarray:
    card = card_of(find_gpu(GPU))
    known: dict[Kernel, float] = {}
    for kernel, _time in pairs:
        if kernel not in known:
            known[kernel] = kernel_time(kernel, card, rates).seconds * 1e6
    return np.array([known[kernel] for kernel, _time in pairs])


def _error(rates: Rates, pairs: Sequence[Pair]) -> float:
    return float(np.abs(_predicted(rates, pairs) - np.array([time for _kernel, time in pairs])).sum())


def _told(rates: Rates, pairs: Sequence[Pair]) -> str:
    if not pairs:
        return "none"
    seen = sum(time for _kernel, time in pairs)
    return (
        f"{len(pairs)} kernels, {_predicted(rates, pairs).sum() / seen:.2f} of {seen / 1e3:.1f} ms, "
        f"{_error(rates, pairs) / seen:.0%} off each"
    )


if __name__ == "__main__":
    main()
