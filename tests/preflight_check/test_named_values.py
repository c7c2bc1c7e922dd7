"""Values that a shell left empty or as they stood, and names that are paths, are said to be so."""

from __future__ import annotations

import pytest

from actprof.preflight_check.named_values import flag_values, value_traps
from actprof.training_command.command_line import parse_command_line


def traps_of(command):
    return [(trap.name, trap.stops) for trap in value_traps(parse_command_line(command))]


@pytest.mark.parametrize(
    ("flag", "name", "stops"),
    [
        ("--dataset.repo_id=/pnp_cup", "empty_variable", True),
        ("--dataset.repo_id=me/", "empty_variable", True),
        ("--policy.repo_id=/act_pnp", "empty_variable", False),
        ("--dataset.repo_id=", "empty_value", True),
        ("--dataset.root=", "empty_value", True),
        ("--policy.path=", "empty_value", True),
        ("--batch_size=", "empty_value", False),
        ("--dataset.repo_id=${HF_USER}/pnp", "unfilled_variable", True),
        ("--dataset.repo_id=$HF_USER/pnp", "unfilled_variable", True),
        ("--dataset.repo_id=%HF_USER%/pnp", "unfilled_variable", True),
        ("--dataset.repo_id=$env:HF_USER/pnp", "unfilled_variable", True),
        ("--dataset.repo_id={HF_USER}/pnp", "unfilled_variable", True),
        ("--dataset.repo_id=<your_user>/pnp", "unfilled_variable", True),
        ("--policy.path=$WORK/act", "unfilled_variable", True),
        ("--output_dir=outputs/$NAME", "unfilled_variable", False),
        ("--dataset.repo_id=/home/me/data/so101", "repository_is_a_path", True),
        ("--dataset.repo_id=data/so101/pick", "repository_is_a_path", True),
        ("--dataset.repo_id=./so101", "repository_is_a_path", True),
        ("--dataset.repo_id=['me/a','me/b']", "several_datasets", True),
        ("--dataset.root=~/so101", "tilde", False),
    ],
)
def test_a_value_that_is_not_meant_is_found(flag, name, stops):
    """Whether lerobot stops with it is said as well."""
    assert [(name, stops)] == traps_of(["lerobot-train", flag])


@pytest.mark.parametrize(
    "flag",
    [
        "--dataset.repo_id=me/so101", "--dataset.root=/data/so101", "--policy.path=lerobot/smolvla_base",
        '--rename_map={"observation.images.front": "camera1"}', "--job_name=", "--wandb.notes=costs $5",
        "--peft.target_modules=.*\\.(q_proj|v_proj)$", "--dataset.episodes=[0, 1]", "--policy.tags=[]",
        "--output_dir=outputs/train/act",
    ],
)  # fmt: skip
def test_a_value_that_is_meant_is_left_alone(flag):
    """Folders, repositories, mappings, patterns."""
    assert [] == traps_of(["lerobot-train", flag])


def test_a_name_beside_a_folder_that_is_here_stops_nothing(tmp_path):
    """Lerobot reads the folder."""
    assert [("empty_variable", False)] == traps_of(
        ["lerobot-train", "--dataset.repo_id=/x", f"--dataset.root={tmp_path}"]
    )


def test_the_variable_that_was_empty_is_named():
    """Where its name is known."""
    text = "lerobot-train --dataset.repo_id=${NOBODY_SETS_THIS}/x"
    (trap,) = value_traps(parse_command_line(text))
    assert "the variable NOBODY_SETS_THIS was empty" in trap.text


def test_flags_that_are_empty_are_told_in_one_sentence():
    """With the variables that nothing sets."""
    text = "lerobot-train --dataset.repo_id=me/x --output_dir=$NOWHERE --batch_size=$NOTHING --job_name=$NONE"
    (trap,) = value_traps(parse_command_line(text))
    assert trap.text.startswith(
        "--output_dir=, --batch_size= are empty: among the variables NOWHERE, NOTHING"
    )
    assert trap.stops


def test_flags_and_their_values_are_read_as_lerobot_does():
    """With an equals sign or without, the last one counts."""
    words = ["--a=1", "--b", "2", "--c", "--d=x=y", "--a=3", "--e"]
    assert {"a": "3", "b": "2", "c": "true", "d": "x=y", "e": "true"} == flag_values(words)
