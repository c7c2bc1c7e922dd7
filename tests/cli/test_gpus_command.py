"""`actprof gpus`: what a card's row says, at every width, and cards of one's own."""

from __future__ import annotations

import json

import pytest

LAB = '[[gpu]]\nname = "Lab card"\ncapacity = "47.4GiB"\n'


@pytest.fixture
def own(tmp_path, monkeypatch):
    """A user's own card."""
    monkeypatch.setenv("ACTPROF_CONFIG_DIR", str(tmp_path))
    monkeypatch.setattr("actprof.measuring.nvml.local_gpus", lambda: ())
    (tmp_path / "gpus.toml").write_text(LAB)
    return tmp_path / "gpus.toml"


@pytest.mark.parametrize(("columns", "widest"), [(80, 80), (120, 120)])
def test_the_table_fits_the_terminal(run, monkeypatch, own, columns, widest):
    """Nothing is cut; a wide one also has multiprocessors, clock, cache and power."""
    monkeypatch.setenv("COLUMNS", str(columns))
    lines = run("gpus").out.splitlines()
    rows = lines[: next(place for place, line in enumerate(lines) if line.startswith("memory as torch"))]

    assert max(map(len, rows)) <= widest
    assert not any("…" in row for row in rows)
    assert (columns == 120) == ("MHz" in rows[1])


def test_cards_of_ones_own_stand_apart_with_their_file(run, own):
    """Below `yours`; in JSON they are marked."""
    shown = run("gpus").out

    assert shown.index("\nyours") < shown.index("Lab card") < shown.index(f"your own cards (1): {own}")
    assert ["Lab card"] == [gpu["name"] for gpu in json.loads(run("gpus", "--json").out) if gpu["own"]]


def test_a_file_that_is_wrong_stops_every_command_with_its_name(run, own):
    """Exit code 2, no traceback."""
    own.write_text("[[gpu]]\n")
    for words in (("gpus",), ("predict", "--gpu", "3090")):
        shown = run(*words)
        assert 2 == shown.code
        assert f"{own}: entry 1 of [[gpu]] has no name" in shown.err


def test_a_card_shows_which_was_taken_and_what_is_not_known(run):
    """One of two of a name, and one of another vendor."""
    assert "the RTX 3060 12 GB was taken, not the RTX 3060 8 GB" in run("gpus", "3060").out
    assert "only the capacity of the MI300X is known" in run("gpus", "mi300x").out


def test_fp16_without_bf16_is_marked(run):
    """A T4 has no bf16 in its tensor cores."""
    assert "65'" in run("gpus", "T4").out


def test_an_answer_says_which_card_was_taken(run, seed):
    """Below the bars, among the assumptions of the JSON, and with the GPU itself."""
    seed()
    words = ("predict", "--set", "chunk_size=7", "--gpu", "RTX 3060")
    said = "more than one card has this name: the RTX 3060 12 GB was taken, not the RTX 3060 8 GB"
    data = json.loads(run(*words, "--json").out)

    assert said in run(*words).out
    assert said in data["assumptions"]
    assert [said] == data["gpu"]["notes"]


def test_a_card_that_is_no_nvidia_is_answered_by_its_capacity(run, seed):
    """With the words that say so, and without a speed."""
    seed()
    data = json.loads(run("predict", "--set", "chunk_size=7", "--gpu", "MI300X", "--json").out)

    assert "fits" == data["verdict"]
    assert "only the capacity of the MI300X is known, as AMD makes it" in data["assumptions"][0]
    assert data["step_seconds"] is None


def test_a_device_smaller_than_the_context_is_said_to_be(run, seed):
    """And no words are put into PyTorch's mouth: CUDA fails before it."""
    seed()
    shown = run("predict", "--set", "chunk_size=7", "--capacity", "600MiB").out

    assert "the device is smaller than CUDA's own context of 850.00 MiB" in " ".join(shown.split())
    assert "Tried to allocate" not in shown
