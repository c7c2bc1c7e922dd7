"""PYTORCH_CUDA_ALLOC_CONF: what is accepted, what is refused, and what it is written as."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actprof.allocator import AllocatorConfig
from actprof.errors import UsageError

MIB = 1024**2


def test_nothing_set_is_pytorchs_default():
    """Empty text gives the defaults, which are written as empty text."""
    config = AllocatorConfig.parse("")
    assert AllocatorConfig() == config
    assert str(config) == ""
    assert (
        config.expandable_segments,
        config.max_split_size_bytes,
        config.max_non_split_rounding_bytes,
        config.large_segment_size_bytes,
    ) == (False, None, 20 * MIB, 20 * MIB)


def test_values_are_read():
    """Each key sets its field; sizes in MB are binary megabytes."""
    config = AllocatorConfig.parse(
        "expandable_segments:True, max_split_size_mb:128, max_non_split_rounding_mb : 64,"
        "garbage_collection_threshold:0.8,per_process_memory_fraction:0.9,large_segment_size_mb:32"
    )
    assert config.expandable_segments
    assert config.max_split_size_bytes == 128 * MIB
    assert config.max_non_split_rounding_bytes == 64 * MIB
    assert config.garbage_collection_threshold == 0.8
    assert config.per_process_memory_fraction == 0.9
    assert config.large_segment_size_bytes == 32 * MIB


@pytest.mark.parametrize(
    ("text", "expected"),
    [  # read off torch 2.11's own parser
        ("4", [4] * 16),
        ("[256:1,512:2,>:4]", [1] * 9 + [2] + [4] * 6),
        ("[>:4]", [0] + [4] * 15),
        ("[64:8,>:0]", [8] * 7 + [0] * 9),
        ("[128:8,64:2]", [8] * 6 + [2, 8] + [0] * 8),
        ("[65536:8]", [8] * 16),
        ("[131072:8,1:2]", [2] + [8] * 15),
        ("[>:4,64:8]", [8] * 7 + [4] * 9),
        ("[4:2,]", [2] * 3 + [0] * 13),
        ("[]", [0] * 16),
    ],
)
def test_divisions_fill_the_intervals(text, expected):
    """The first entry fills what is before it, `>` what is after the last one."""
    config = AllocatorConfig.parse(f"roundup_power2_divisions:{text}")
    assert tuple(expected) == config.roundup_power2_divisions
    assert config == AllocatorConfig.parse(str(config))


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("max_split_size_mb:19", "at least 20"),
        ("max_split_size_mb:many", "max_split_size_mb:many"),
        ("max_split_size_mb:-5", "whole number"),
        ("max_non_split_rounding_mb:10", "at least 20"),
        ("max_split_size_mb:40,large_segment_size_mb:64", "at least 64"),
        ("large_segment_size_mb:10", "greater than 10"),
        ("garbage_collection_threshold:0", "both excluded"),
        ("garbage_collection_threshold:1", "both excluded"),
        ("garbage_collection_threshold:high", "must be a number"),
        ("per_process_memory_fraction:1.5", "between 0 and 1"),
        ("per_process_memory_fraction:nan", "between 0 and 1"),
        ("roundup_power2_divisions:3", "power of two"),
        ("roundup_power2_divisions:0", "power of two"),
        ("roundup_power2_divisions:[4:3]", "3 in '4:3'"),
        ("roundup_power2_divisions:[3:4]", "'3:4' must begin"),
        ("roundup_power2_divisions:[4:2", "closing bracket"),
        ("expandable_segments:true", "True or False"),
        ("expandable_segments", "key:value"),
        ("expandable_segments:", "key:value"),
        (",expandable_segments:True", "key:value"),
        ("expandable_segment:True", "did you mean expandable_segments?"),
        ("colour:blue", "known are backend"),
        ("backend:cudaMallocAsync", "another allocator"),
        ("pinned_num_register_threads:3", "power of two up to 128"),
        ("pinned_num_register_threads:256", "power of two up to 128"),
        ("pinned_reserve_segment_size_mb:0", "greater than 0"),
        ("release_lock_on_cudamalloc:yes", "True or False"),
    ],
)
def test_what_pytorch_refuses_is_refused(text, named):
    """The error names the offending value and what would do."""
    with pytest.raises(UsageError, match=named.replace("?", r"\?").replace("[", r"\[")):
        AllocatorConfig.parse(text)


def test_settings_without_effect_are_kept():
    """Keys that change nothing in device memory stay in the text, in order of their names."""
    text = "pinned_num_register_threads:8,backend:native,expandable_segments:True,"
    config = AllocatorConfig.parse(text)
    expected = "backend:native,expandable_segments:True,pinned_num_register_threads:8"
    assert expected == str(config)
    assert config == AllocatorConfig.parse(expected)


configs = st.builds(
    AllocatorConfig,
    expandable_segments=st.booleans(),
    max_split_size_bytes=st.none() | st.integers(64, 4096).map(lambda mb: mb * MIB),
    max_non_split_rounding_bytes=st.integers(64, 4096).map(lambda mb: mb * MIB),
    garbage_collection_threshold=st.sampled_from([0.0, 0.1, 0.999]),
    per_process_memory_fraction=st.none() | st.floats(0, 1),
    large_segment_size_bytes=st.integers(11, 64).map(lambda mb: mb * MIB),
    roundup_power2_divisions=st.just(()) | st.tuples(*[st.sampled_from([0, 1, 2, 64])] * 16),
    other=st.sampled_from([(), (("backend", "native"),)]),
)


@given(configs)
def test_text_comes_back(config):
    """Parsing the text gives the same settings."""
    assert config == AllocatorConfig.parse(str(config))


@pytest.mark.parametrize(
    "text",
    [
        "pinned_free_catch_all:True",
        "pinned_max_cached_size_mb:64,pinned_max_round_threshold_mb:32",
        "expandable_segments_reserve:40G",
    ],
)
def test_keys_of_torch_2_12_to_2_15_change_nothing_in_device_memory(text):
    """They are for pinned memory and for addresses, and are kept as they are."""
    config = AllocatorConfig.parse(text)
    assert replace(config, other=()) == AllocatorConfig()
    assert text == str(config)
