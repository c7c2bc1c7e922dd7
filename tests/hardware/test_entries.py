"""From what people write to a `Gpu`."""

import pytest

from actprof.errors import UsageError
from actprof.hardware.entries import (
    CAUTIOUS_CONTEXT_BYTES,
    FIGURES,
    gpu_from_entry,
    parse_bandwidth,
    parse_capacity,
    parse_compute_capability,
    parse_flops,
)
from actprof.units import GIB, MIB


@pytest.mark.parametrize(
    ("parse", "text", "expected"),
    [
        (parse_capacity, "23.5GiB", 23.5 * GIB),
        (parse_capacity, "24GB", 24e9),
        (parse_compute_capability, "8.6", (8, 6)),
        (parse_compute_capability, "12.0", (12, 0)),
        (parse_flops, "35.6 TFLOPS", 35.6e12),
        (parse_flops, "1.5 PFLOP/s", 1.5e15),
        (parse_flops, "900gflops", 900e9),
        (parse_bandwidth, "936 GB/s", 936e9),
        (parse_bandwidth, "1.8TB/s", 1.8e12),
    ],
)
def test_figures_are_read_with_their_units(parse, text, expected):
    """Each figure has one way to be written, with its unit."""
    assert expected == parse(text)


@pytest.mark.parametrize(
    ("parse", "text", "expected"),
    [
        (parse_capacity, "24", "'24' is too small for a GPU; write the unit, like 23.69GiB"),
        (parse_capacity, "200MiB", "'200MiB' is too small for a GPU: CUDA's context takes more"),
        (parse_compute_capability, "8", "'8' is not a compute capability; write it like 8.6"),
        (parse_compute_capability, "sm_86", "'sm_86' is not a compute capability; write it like 8.6"),
        (parse_flops, "35.6", "'35.6' is not a rate of arithmetic; write it like 35.6 TFLOPS"),
        (parse_flops, "35 TOPS", "'35 TOPS' is not a rate of arithmetic; write it like 35.6 TFLOPS"),
        (parse_bandwidth, "936", "'936' is not a bandwidth; write it like 936 GB/s"),
        (parse_bandwidth, "936 GB", "'936 GB' is not a bandwidth; write it like 936 GB/s"),
        (parse_bandwidth, "936/s", "'936/s' is not a bandwidth; write it like 936 GB/s"),
        (parse_bandwidth, "fast/s", "'fast/s' is not a bandwidth; write it like 936 GB/s"),
    ],
)
def test_a_figure_without_its_unit_is_refused(parse, text, expected):
    """The message repeats the text and shows the form."""
    with pytest.raises(UsageError) as caught:
        parse(text)
    assert expected == str(caught.value)


def test_what_an_entry_leaves_out_is_taken_with_caution_and_says_so():
    """GIVEN a capacity alone WHEN read THEN the rest is a cautious estimate, speeds unknown."""
    gpu = gpu_from_entry("Mine", {"capacity": "10GiB"}, origin="given in lab.yaml")
    assert (10 * GIB, CAUTIOUS_CONTEXT_BYTES) == (gpu.capacity_bytes, gpu.context_bytes)
    assert gpu.sources["capacity_bytes"] == "given in lab.yaml"
    assert (True, True) == (gpu.is_estimate("context_bytes"), gpu.is_estimate("compute_capability"))
    assert (None, None, None) == (gpu.memory_bandwidth_bytes_per_s, gpu.fp32_flops, gpu.multiprocessors)


def test_a_source_named_for_a_figure_wins_over_the_common_one():
    """`specs` covers the figures that are not named, and only those that are given."""
    entry = {"capacity": "1GiB", "context": "300MiB", "compute_capability": "8.6", "fp32": "1 TFLOPS"}
    gpu = gpu_from_entry("Mine", {**entry, "sources": {"capacity": "torch", "specs": "data sheet"}})
    expected = {
        "capacity_bytes": "torch",
        "context_bytes": "data sheet",
        "compute_capability": "data sheet",
        "fp32_flops": "data sheet",
    }
    assert expected == gpu.sources
    assert 300 * MIB == gpu.context_bytes


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ({}, "GPU 'Mine' has no capacity; add one, like capacity: 23.5GiB"),
        (
            {"capacity": "1GiB", "cores": 3},
            f"GPU 'Mine': unknown field 'cores'; the fields are {', '.join(FIGURES)}",
        ),
    ],
)
def test_an_entry_that_cannot_be_a_gpu_is_refused(entry, expected):
    """A missing capacity and an unknown field each name the GPU."""
    with pytest.raises(UsageError) as caught:
        gpu_from_entry("Mine", entry)
    assert expected == str(caught.value)
