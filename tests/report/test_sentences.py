"""The answer in sentences."""

import pytest

from actprof.report.sentences import answer, device_text, say_lead, summary
from actprof.units import GIB


def parts_of(results):
    return {heading: " ".join(said) for heading, said in answer(results).parts}


def test_a_grid_is_answered_with_its_counts_and_its_two_ends(grid):
    """How many fit, and how far the largest and the smallest images go."""
    assert (
        "20 of 24 runs fit the RTX 3090 (24.00 GiB); 4 run out of memory. "
        "Two 640x480 cameras run up to batch 46, two 224x224 cameras up to 230."
    ) == say_lead(grid)


def test_limits_are_said_per_resolution_cameras_first_then_settings(grid):
    """The noun is said once; another setting repeats only the numbers."""
    said = parts_of(grid)["Largest batch size"]
    assert (
        "At 640x480 the largest batch is 92 with one camera and 46 with two; "
        "96 and 48 under expandable_segments:True."
    ) in said


def test_an_allocator_setting_is_said_to_move_the_limits_by_what_it_moves_them(grid):
    """Counts, span, and the largest gain in proportion."""
    said = parts_of(grid)["What expandable_segments changes"]
    assert said.startswith("It raises all 4 limits by 2 to 24 samples; the largest gain is at ")
    assert said.endswith("Of the 12 runs tried both ways, none gets through only with it.")


def test_a_setting_that_saves_runs_and_loses_others_says_both(make_result):
    """One run each way."""
    conf = "max_split_size_mb:64"
    other = {"alloc_conf": conf, "limit": 9}
    results = [
        make_result(verdict="oom", batch_size=8, limit=4),
        make_result(batch_size=8, **other),
        make_result(batch_size=16, limit=4),
        make_result(verdict="oom", batch_size=16, **other),
    ]
    said = parts_of(results)["What max_split_size_mb:64 changes"]
    assert "It raises the limit by 5 samples" in said
    assert "Of the 2 runs tried both ways, 1 gets through only with it, 1 only without it." in said


def test_a_setting_that_changes_nothing_is_said_to(make_result):
    """No gain is an answer too."""
    results = [make_result(), make_result(alloc_conf="expandable_segments:True")]
    assert "It moves no limit." in parts_of(results)["What expandable_segments changes"]


def test_without_the_default_allocator_the_base_is_named(make_result):
    """A comparison says against what."""
    results = [make_result(alloc_conf="a:1"), make_result(alloc_conf="b:1")]
    assert "What b:1 changes, against a:1" in parts_of(results)


def test_tokens_are_compared_at_the_same_number_of_cameras(grid):
    """602 against 102 tokens for two cameras; the limit is compared with both powers."""
    said = parts_of(grid)["What the tokens do"]
    assert said.startswith(
        "Two 640x480 cameras make 602 encoder tokens, two 224x224 cameras 102: 5.9 times fewer, "
        "and 35 times fewer entries in every attention map of the encoder. "
        "The largest batch goes from 46 to 230"
    )
    assert said.endswith("the limit follows the number of tokens, not its square.")


def test_the_holders_are_those_of_the_focus_and_shares_are_of_the_whole(grid):
    """The encoder half, the backbone a quarter, the maps a quarter."""
    said = parts_of(grid)["Who holds the memory"].replace("\u202f", " ")
    assert "activations 75 % (encoder 50 %, backbone 25 %) and parameters 25 %" in said
    assert "All attention maps together are 25 % of it." in said
    assert "When memory runs out in two 640x480 cameras, batch 128 (forward phase)" in said


@pytest.mark.parametrize(
    ("verdict", "said"),
    [
        ("fits", "fits: why. The process needs 10.00 GiB at its peak. The largest batch that runs is 64."),
        (
            "tight",
            "is tight: why. The process needs 10.00 GiB at its peak. The largest batch that runs is 64.",
        ),
        (
            "oom",
            "does not fit: why. The process needs 10.00 GiB at its peak. The largest batch that runs is 64.",
        ),
        ("unknown", "has no verdict: why."),
        (
            "error",
            "failed: why. The process needs 10.00 GiB at its peak. The largest batch that runs is 64.",
        ),
    ],
)
def test_a_single_run_is_answered_by_itself(make_result, verdict, said):
    """Verdict, reason, need and limit, as far as they are known."""
    result = make_result(verdict=verdict, reason="why", cameras=1, batch_size=1)
    assert f"Training ACT with one 640x480 camera, batch 1, on the RTX 3090 (24.00 GiB) {said}" == say_lead(
        [result]
    )


@pytest.mark.parametrize(
    ("verdicts", "said"),
    [
        (["fits", "fits"], "All 2 runs fit the RTX 3090 (24.00 GiB)."),
        (["oom", "oom"], "None of the 2 runs fits the RTX 3090 (24.00 GiB): all run out of memory."),
        (
            ["fits", "oom", "tight"],
            "1 of 3 runs fits the RTX 3090 (24.00 GiB); 1 is tight and 1 runs out of memory.",
        ),
        (["unknown", "unknown"], "None of the 2 runs fits the RTX 3090 (24.00 GiB); 2 are unknown."),
        (["fits", "error"], "1 of 2 runs fits the RTX 3090 (24.00 GiB); 1 failed."),
        (["tight", "tight"], "None of the 2 runs fits the RTX 3090 (24.00 GiB); 2 are tight."),
    ],
)
def test_counts_agree_with_their_verbs(make_result, verdicts, said):
    """One runs, two run; nothing is said of verdicts that do not occur."""
    results = [make_result(verdict=v, batch_size=i + 1) for i, v in enumerate(verdicts)]
    assert say_lead(results).startswith(said)


def test_several_gpus_are_counted_one_by_one(make_result):
    """Each device with its own share."""
    results = [make_result(), make_result(verdict="oom", gpu="T4", capacity=15 * GIB)]
    assert (
        "1 of 2 runs fits: 1 of 1 on the RTX 3090 (24.00 GiB) and 0 of 1 on the T4 (15.00 GiB); "
        "1 runs out of memory."
    ) == say_lead(results)
    assert {"Largest batch size: RTX 3090", "Largest batch size: T4"} <= parts_of(results).keys()


def test_many_devices_are_counted_not_listed(make_result):
    """A list of five names is no sentence."""
    results = [make_result(gpu=f"GPU {i}") for i in range(5)]
    assert "5 devices" == device_text(results)


def test_memory_that_others_hold_is_said(make_result):
    """Beside the capacity."""
    text = device_text([make_result(used_by_others_bytes=GIB)])
    assert "the RTX 3090 (24.00 GiB, of which other programs hold 1.00 GiB)" == text


def test_no_results_are_an_answer():
    """A sweep that was stopped at once still has a report."""
    assert "No run has been answered yet." == answer([]).lead
    assert () == answer([]).parts


@pytest.mark.parametrize(
    ("limit", "said"),
    [
        (None, "the largest batch is not known with one camera."),
        (0, "the largest batch is none (not even batch 1) with one camera."),
        (4096, "the largest batch is 4096 or more with one camera."),
    ],
)
def test_limits_without_a_number_are_said_in_words(make_result, limit, said):
    """Not known, none, and beyond the search."""
    (stop,) = [
        text
        for heading, text in parts_of([make_result(limit=limit, cameras=1)]).items()
        if heading == "Largest batch size"
    ]
    assert stop.endswith(said)


def test_unknown_cells_have_no_tokens_and_no_holders(make_result):
    """No sentence rests on a number that is not known."""
    assert ["Largest batch size"] == list(parts_of([make_result(verdict="unknown")]))


def test_each_policy_has_its_tokens(make_result):
    """Two policies, two stories, each with its own word; of one that reads none nothing is said."""
    said = parts_of(
        [make_result(), make_result(policy="smolvla", tokens=177), make_result(policy="diffusion", tokens=0)]
    )
    told = {heading.partition(": ")[2]: text for heading, text in said.items() if "tokens" in heading}
    assert {
        "ACT": "Two 640x480 cameras make 602 encoder tokens.",
        "SmolVLA": "Two 640x480 cameras make 177 prefix tokens.",
    } == told


def test_fewer_tokens_are_squared_only_where_maps_of_them_are_held(make_result):
    """SmolVLA attends to its prefix together with its actions, outside the language model that reads it."""
    few = {"cameras": 1, "tokens": 113, "policy": "smolvla"}
    said = parts_of([make_result(tokens=177, policy="smolvla"), make_result(**few)])["What the tokens do"]
    assert said.startswith(
        "Two 640x480 cameras make 177 prefix tokens, one 640x480 camera 113: 1.6 times fewer."
    )


def test_cameras_of_unlike_sizes_and_none_at_all_read_well(make_result):
    """Each size once, with how many cameras have it; without cameras there are no images."""
    unlike = [make_result(cameras=3, resolution="640x480,640x480,480x640", limit=40)]
    blind = [make_result(cameras=0, environment_dim=7, limit=900, tokens=3)]

    assert "two 640x480 cameras and one 480x640, batch 8" in say_lead(unlike)
    assert (
        "At 640x480 \u00d72, 480x640 the largest batch is 40 with three cameras."
        == parts_of(unlike)["Largest batch size"]
    )
    assert "with no cameras, batch 8" in say_lead(blind)
    assert "Without cameras the largest batch is 900." == parts_of(blind)["Largest batch size"]


def test_a_cell_is_summed_up_in_a_line(make_result):
    """Need, capacity, reason; or that nothing is known."""
    assert "Needs 10.00 of 24.00 GiB; why." == summary(make_result(reason="why"))
    assert "Not known: why." == summary(make_result(verdict="unknown", reason="why."))
    assert "Failed: why." == summary(make_result(verdict="error", reason="why.", peak_process_bytes=0))


def test_a_run_without_cameras_is_no_measure_of_tokens(make_result):
    """What images bring is told by runs that have some."""
    blind = {"cameras": 0, "tokens": 3, "limit": 900}
    told = parts_of([make_result(), make_result(cameras=1, tokens=302), make_result(**blind)])[
        "What the tokens do"
    ]
    assert told.startswith("Two 640x480 cameras make 602 encoder tokens, one 640x480 camera 302: 2.0 times")
