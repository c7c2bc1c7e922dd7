"""Datasets that lerobot refuses, or learns little from, are traps with what to do."""

from __future__ import annotations

import json

import pytest

from actprof.errors import UsageError
from actprof.preflight_check.dataset_format import FORMAT, dataset_traps
from actprof.preflight_check.dataset_shapes import find_info, shapes_of
from actprof.preflight_check.training_run import TrainingRun

RUN = TrainingRun(
    policy_type="act", repo_id="me/x", root="data/x", batch_size=8, steps=100, save_freq=20, horizon=100,
    dropped_frames=7,
)  # fmt: skip
GOOD = {"codebase_version": "v3.0", "total_episodes": 2, "total_frames": 400}
LOCAL = "--repo-id=me/x --root=data/x --push-to-hub=false"


def traps_of(**more):
    return list(dataset_traps(RUN, GOOD | more, "meta/info.json"))


def test_the_format_is_the_installed_lerobots():
    """Its code says which one it writes."""
    from lerobot.datasets.dataset_metadata import CODEBASE_VERSION

    assert CODEBASE_VERSION == "v" + ".".join(map(str, FORMAT))


@pytest.mark.parametrize(
    ("version", "said"),
    [
        ("v2.1", f"python -m lerobot.scripts.convert_dataset_v21_to_v30 {LOCAL}"),
        ("2.1", f"python -m lerobot.scripts.convert_dataset_v21_to_v30 {LOCAL}"),
        ("v2.0", f"0.3.3): python -m lerobot.datasets.v21.convert_dataset_v20_to_v21 {LOCAL}\nthen: python"),
        ("v1.6", "convert_dataset_v1_to_v2.py"),
        ("one", "is no version"),
    ],
)
def test_an_older_format_stops_and_says_how_to_convert(version, said):
    """In lerobot's own commands, for the folder that is named."""
    (trap,) = traps_of(codebase_version=version)
    assert ("dataset_version", True) == (trap.name, trap.stops)
    assert said in trap.text


@pytest.mark.parametrize("version", ["v2.0", "v2.1", "v1.6", "v3.0", "v3.1", "v4.0"])
def test_what_stops_is_what_lerobot_refuses(version):
    """Lerobot's check raises for older major versions only."""
    from lerobot.datasets.utils import CompatibilityError, check_version_compatibility

    try:
        check_version_compatibility("me/x", version, "v3.0")
        refused = False
    except (CompatibilityError, NotImplementedError):
        refused = True
    assert refused == any(trap.stops for trap in traps_of(codebase_version=version))


def test_a_newer_format_is_said():
    """Lerobot lets it pass, and may not read it rightly."""
    assert ["dataset_version"] == [trap.name for trap in traps_of(codebase_version="v3.1")]


@pytest.mark.parametrize("more", [{"total_episodes": 0}, {"total_frames": 0}])
def test_an_empty_dataset_stops(more):
    """There is nothing to learn from."""
    assert [("empty_dataset", True)] == [(trap.name, trap.stops) for trap in traps_of(**more)]


@pytest.mark.parametrize(
    ("frames", "name"), [(199, "chunk_longer_than_episodes"), (14, "episodes_too_short"), (200, None)]
)
def test_episodes_shorter_than_a_chunk_are_said(frames, name):
    """What reaches beyond an episode is padding."""
    assert [name] * (name is not None) == [trap.name for trap in traps_of(total_frames=frames)]


def test_a_sound_dataset_is_no_trap():
    """Nor one whose description says nothing of all that."""
    assert [] == traps_of() == list(dataset_traps(RUN, {}, "x"))


def described(folder):
    (folder / "meta").mkdir(parents=True)
    (folder / "meta" / "info.json").write_text(json.dumps(GOOD))


def test_a_folder_above_the_dataset_is_told_from_it(tmp_path):
    """The message names the folder that is one."""
    described(tmp_path / "me" / "x")
    with pytest.raises(UsageError, match=r"--dataset\.root=.*/me/x"):
        find_info("me/x", str(tmp_path), None, {}, hub=False)


def test_the_layout_of_2024_is_known(tmp_path):
    """It has its description elsewhere."""
    (tmp_path / "meta_data").mkdir()
    (tmp_path / "meta_data" / "info.json").write_text("{}")
    with pytest.raises(UsageError, match="format v1 of 2024"):
        find_info("me/x", str(tmp_path), None, {}, hub=False)


def test_a_folder_of_another_machine_is_said_to_be_one():
    """It is not taken for a repository's."""
    info, looked = find_info("me/x", "/cluster/data", None, {}, hub=False)
    assert (None, "--dataset.root=/cluster/data, which is not on this machine") == (info, looked)


def test_a_dataset_without_actions_is_no_dataset_to_learn_from():
    """The message says what is missing."""
    with pytest.raises(UsageError, match="no action among its features"):
        shapes_of({"features": {"observation.state": {"dtype": "float32", "shape": [6]}}}, "info.json")


@pytest.mark.parametrize(
    ("more", "name"),
    [
        ({"fps": 0}, "no_fps"),
        ({"fps": None}, "no_fps"),
        ({"fps": 30}, None),
        (
            {"features": {"observation.images.a": {"dtype": "video", "shape": [4, 6, 3], "names": None}}},
            "no_names",
        ),
        ({"features": {"observation.images.a": {"dtype": "video", "shape": [4, 6, 3]}}}, None),
        (
            {
                "features": {
                    "observation.environment_state": {"dtype": "float32", "shape": [3], "names": None}
                }
            },
            None,
        ),
    ],
)
def test_a_description_at_which_lerobot_stops_is_said(more, name):
    """A rate of no frames, an image whose sides have no names."""
    assert [(name, True)] * (name is not None) == [(trap.name, trap.stops) for trap in traps_of(**more)]


@pytest.mark.parametrize(
    ("feature", "said"),
    [
        (
            {"dtype": "uint16", "shape": [480, 640]},
            "[480, 640] numbers of uint16: 4.69 MiB that go to the GPU",
        ),
        ({"dtype": "float32", "shape": [6]}, None),
        ({"dtype": "video", "shape": [480, 640, 3]}, None),
    ],
)
def test_numbers_that_no_policy_reads_and_the_gpu_gets_are_said(feature, said):
    """Depth that is no image, for one."""
    found = traps_of(features={"observation.depth": feature, "observation.environment_state": {}})
    assert [True] * (said is not None) == [said in trap.text and not trap.stops for trap in found]
