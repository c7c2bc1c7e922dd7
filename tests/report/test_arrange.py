"""Setups, lines and limits."""

from actprof.report.arrange import arrange, fixed_facts, share_of_device
from actprof.units import GIB


def test_cells_that_differ_in_axes_only_are_one_setup_without_a_name(grid):
    """Largest image first, fewest cameras first, the default allocator first, batch sizes ascending."""
    (setup,) = arrange(grid)
    first = setup.lines[0]
    assert "" == setup.name
    assert ("640x480", "224x224") == setup.resolutions
    assert ("640x480", 1, "") == (first.resolution, first.cameras, first.alloc_conf)
    assert [8, 32, 128] == [r.cell.batch_size for r in first.results]


def test_a_setup_is_named_after_what_differs(make_result):
    """GPU and precision are named where they differ; the capacity that comes with a GPU is not."""
    results = [make_result(), make_result(gpu="T4", capacity=15 * GIB, precision="bf16")]
    assert ["RTX 3090 · fp32", "T4 · bf16"] == [setup.name for setup in arrange(results)]


def test_the_same_gpu_with_two_capacities_is_two_setups(make_result):
    """Then the capacity tells them apart."""
    names = [setup.name for setup in arrange([make_result(), make_result(capacity=12 * GIB)])]
    assert ["24.00 GiB", "12.00 GiB"] == names


def test_an_override_that_only_one_run_has_tells_setups_apart(make_result):
    """The run without it is not named after it, but can be chosen all the same."""
    results = [make_result(), make_result(overrides={"chunk_size": 50, "dim_model": 64})]
    assert ["as usual", "dim_model=64"] == [setup.name for setup in arrange(results)]


def test_setups_are_named_in_the_words_of_people(make_result):
    """Policies by their titles, options as commands have them, both ends of a switch."""
    plain = {"batch_size": 8, "overrides": {}}
    pairs = [
        ({"policy": "smolvla"}, ["ACT", "SmolVLA"]),
        ({"peft": {"r": 16}}, ["as usual", "peft.r=16"]),
        ({"ema": True}, ["EMA off", "EMA on"]),
        ({"accumulate": 4}, ["accumulate 1", "accumulate 4"]),
        ({"task_tokens": 12}, ["task tokens 0", "task tokens 12"]),
        ({"environment_dim": 7}, ["environment state 0", "environment state 7"]),
        ({"changes": ("fused_adamw",)}, ["no changes", "fused_adamw"]),
        ({"used_by_others_bytes": GIB}, ["0 bytes used by others", "1.00 GiB used by others"]),
    ]
    for fields, names in pairs:
        results = [make_result(**plain), make_result(**{**plain, **fields})]
        assert names == [setup.name for setup in arrange(results)]


def test_the_cells_around_a_limit_are_the_last_that_runs_and_the_next_that_fails(make_result):
    """A failure below a batch size that runs is not the limit."""
    verdicts = {8: "fits", 16: "oom", 32: "tight", 64: "oom", 128: "oom"}
    (setup,) = arrange([make_result(verdict=v, batch_size=b) for b, v in verdicts.items()])
    assert [32, 64] == [r.cell.batch_size for r in setup.lines[0].around_limit]


def test_a_cell_that_was_answered_twice_counts_once(make_result):
    """The later answer holds."""
    (setup,) = arrange([make_result(verdict="oom"), make_result(verdict="fits")])
    assert ["fits"] == [r.verdict for r in setup.results]


def test_others_count_in_the_share_and_not_in_the_room(make_result):
    """Of 24 GiB, others hold 6 and the context half a GiB."""
    result = make_result(need=12 * GIB, used_by_others_bytes=6 * GIB)
    assert 0.75 == share_of_device(result)
    assert int(17.5 * GIB) == result.available_bytes


def test_an_unknown_cell_has_no_share(make_result):
    """Zero bytes needed would be a claim."""
    assert share_of_device(make_result(verdict="unknown")) is None


def test_fixed_facts_are_those_that_all_cells_share(make_result):
    """What differs is left out; no results have no facts."""
    facts = fixed_facts([make_result(precision="fp32"), make_result(precision="bf16")])
    assert 50 == facts["set chunk_size"]
    assert "precision" not in facts
    assert {} == fixed_facts([])
