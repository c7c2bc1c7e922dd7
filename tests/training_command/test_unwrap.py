"""What stands around lerobot-train: launchers, folders, scripts; what cannot be read; commands of 2024."""

from __future__ import annotations

import shlex

import pytest

from actprof.errors import UsageError
from actprof.policies.lerobot_versions import TESTED
from actprof.preflight_check.flag_table import tables_of
from actprof.training_command.command_line import expanded, parse_command_line
from actprof.training_command.launcher import launch_of
from actprof.training_command.old_commands import _FLAGS_OF_2025

FLAGS = ["--policy.type=act", "--policy.push_to_hub=false", "--dataset.repo_id=me/so101", "--batch_size=8",
         "--steps=100"]  # fmt: skip
LINES = " \\\n  ".join(["lerobot-train", *FLAGS])
CONF = "PYTORCH_CUDA_ALLOC_CONF=expandable_segments:True"
SET = {"PYTORCH_CUDA_ALLOC_CONF": "expandable_segments:True"}


@pytest.mark.parametrize(
    ("prefix", "processes", "precision"),
    [
        ("accelerate launch --multi_gpu --num_processes=2 $(which lerobot-train)", 2, "fp32"),
        ("accelerate launch --num_processes 4 --mixed_precision bf16 `which lerobot-train`", 4, "bf16"),
        ("docker run image accelerate launch --num_processes=2 lerobot-train", 2, "fp32"),
        ("bash -c 'accelerate launch --num_processes=2 lerobot-train FLAGS'", 2, "fp32"),
        ("python -m torch.distributed.launch --nproc_per_node=2 -m lerobot.scripts.lerobot_train", 2, "fp32"),
        ("accelerate launch --num_processes=$(nvidia-smi -L | wc -l) lerobot-train", None, "fp32"),
        ("uv run accelerate launch --num_processes=1 src/lerobot/scripts/train.py", 1, "fp32"),
        ("export ACCELERATE_MIXED_PRECISION=bf16; lerobot-train", 1, "bf16"),
    ],
)
def test_a_launcher_is_found_inside(prefix, processes, precision):
    """With its options."""
    flags = shlex.join(FLAGS)
    text = prefix.replace("FLAGS", flags) if "FLAGS" in prefix else f"{prefix} {flags}"
    line = parse_command_line(text)
    launch = launch_of(line, around={"HF_HOME": "/nowhere"})
    assert (tuple(FLAGS), processes, precision) == (line.arguments, launch.processes, launch.precision)


@pytest.mark.parametrize(
    ("text", "flag"),
    [
        ("docker run -v {here}:/data image lerobot-train --dataset.root=/data/so101", "{here}/so101"),
        ("docker run -v {here}:/data:ro image lerobot-train --dataset.root /data/so101", "{here}/so101"),
        ("docker run --mount type=bind,source={here},target=/d image lerobot-train --dataset.root=/d/so101",
         "{here}/so101"),
        ("apptainer exec -B /x:/y,{here}:/d i.sif lerobot-train --dataset.root=/d/so101", "{here}/so101"),
        ("docker run -w /d -v {here}:/d image lerobot-train --dataset.root=so101", "{here}/so101"),
        ("cd {here} && lerobot-train --dataset.root=so101", "{here}/so101"),
        ("cd {here}; cd so101; lerobot-train --dataset.root=.", "{here}/so101"),
        ("lerobot-train --dataset.root=so101", "so101"),
    ],
)  # fmt: skip
def test_paths_are_those_of_this_machine(tmp_path, text, flag):
    """Through a container's mounts, and from the folder in which the command runs."""
    line = parse_command_line(text.format(here=tmp_path))
    assert flag.format(here=tmp_path) in " ".join(line.arguments)


def test_a_repository_is_no_path_of_the_folder(tmp_path):
    """Unless it is there."""
    (tmp_path / "a" / "b").mkdir(parents=True)
    texts = [
        f"cd {tmp_path} && lerobot-train --policy.path={name}" for name in ("a/b", "lerobot/smolvla_base")
    ]
    assert [(f"--policy.path={tmp_path}/a/b",), ("--policy.path=lerobot/smolvla_base",)] == [
        parse_command_line(text).arguments for text in texts
    ]


@pytest.mark.parametrize(
    "start", ["bash {}", "sh -x {}", "{}", "sbatch --gres=gpu:1 {}", "source {}", ". {}"]
)
def test_a_script_that_is_here_is_read(tmp_path, start):
    """With its variables and what is given to it."""
    path = tmp_path / "train.sh"
    path.write_text(f"#!/bin/bash\n#SBATCH --gres=gpu:1\nset -euo pipefail\nexport {CONF}\nBATCH=${{1:-8}}\n"
                    + LINES.replace("--batch_size=8", "--batch_size=$BATCH"))  # fmt: skip
    line = parse_command_line(start.format(path))
    assert (tuple(FLAGS), SET) == (line.arguments, line.environment)
    assert f"read from {path}" in line.notes
    given = parse_command_line([*start.format(path).split(), "16"])
    assert "--batch_size=16" in given.arguments


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("bash nowhere.sh", "nowhere.sh is not on this machine"),
        (
            "sbatch /cluster/train.sbatch 8",
            "put actprof preflight -- before the lerobot-train that stands in it",
        ),
        ("python my_train.py --policy.type=act", "my_train.py is not lerobot's training script"),
        ("frobnicate lerobot-train", "put actprof preflight -- right before lerobot-train itself"),
        ("deepspeed lerobot/scripts/lerobot_train.py", "'deepspeed' before lerobot-train is not known"),
        ("make train", "does not run lerobot-train"),
        ("lerobot-record --robot.type=so101_follower", "does not run lerobot-train"),
    ],
)
def test_what_cannot_be_read_says_what_to_write(text, said):
    """What to put in front of what."""
    with pytest.raises(UsageError) as refused:
        parse_command_line(text)
    assert said in str(refused.value)


def test_words_with_a_shells_operators_are_read_as_its_text():
    """No shell has filled in their variables, if they name one."""
    words = ["export", "ME=me", "&&", "lerobot-train", "--dataset.repo_id=$ME/x"]
    assert ("--dataset.repo_id=me/x",) == parse_command_line(words).arguments
    assert ("--dataset.repo_id=$ME/x",) == parse_command_line(words[3:]).arguments


def test_a_script_that_starts_itself_has_no_answer(tmp_path):
    """Nor does reading it go on for ever."""
    path = tmp_path / "train.sh"
    path.write_text(f"bash {path}  # lerobot-train\n")
    with pytest.raises(UsageError, match="starts itself again and again"):
        parse_command_line(f"bash {path}")


def test_a_home_of_nobody_is_left_as_it_is():
    """It is some folder that is not here."""
    words = ["lerobot-train", "--dataset.root=~nobody_here/x"]
    assert tuple(words[1:]) == parse_command_line(words).arguments
    assert "~nobody_here/x" == str(expanded("~nobody_here/x"))


def test_unset_variables_are_known_by_name():
    """A shell takes them as empty."""
    line = parse_command_line("lerobot-train --dataset.repo_id=${NOBODY_SETS_THIS}/x")
    assert (("--dataset.repo_id=/x",), ("NOBODY_SETS_THIS",)) == (line.arguments, line.unset)


@pytest.mark.parametrize(
    ("text", "flags"),
    [
        ("policy=act env=aloha", ["--policy.type=act", "--dataset.repo_id=lerobot/aloha_sim_insertion_human",
                                  "--env.type=aloha"]),
        ("policy=act_koch_real env=koch_real dataset_repo_id=me/x device=cuda wandb.enable=true",
         ["--policy.type=act", "--dataset.repo_id=me/x", "--policy.device=cuda", "--wandb.enable=true"]),
        ("policy=diffusion training.batch_size=32 training.offline_steps=1000 ++policy.horizon=32",
         ["--policy.type=diffusion", "--batch_size=32", "--steps=1000", "--policy.horizon=32"]),
        ("hydra.run.dir=outputs/x hydra.job.name=x", ["--policy.type=diffusion", "--output_dir=outputs/x"]),
        ("policy=act ++policy.dim_model=512 training.lr=1e-4", ["--policy.dim_model=512",
                                                                 "--policy.optimizer_lr=1e-4"]),
    ],
)  # fmt: skip
@pytest.mark.parametrize("start", ["python lerobot/scripts/train.py", "lerobot-train"])
def test_a_command_of_2024_is_written_anew(start, text, flags):
    """What it is and how it reads today is said; real robots have no simulation."""
    line = parse_command_line(f"{start} {text}")
    assert set(flags) <= set(line.arguments)
    assert "--policy.push_to_hub=false" in line.arguments
    assert "in 2024, through hydra; today it reads" in line.mended[-1]
    assert f"lerobot-train {shlex.join(line.arguments)}" in line.mended[-1]
    assert ("--env.type" in " ".join(line.arguments)) == ("env=aloha" in text)


@pytest.mark.parametrize(
    ("flag", "today", "said"),
    [
        (
            "--device=cuda",
            ["--policy.device=cuda"],
            "--device is a flag of early 2025; today it is --policy.device",
        ),
        ("--device cuda", ["--policy.device=cuda"], "today it is --policy.device"),
        ("--use_amp=true", ["--policy.use_amp=true"], "today it is --policy.use_amp"),
        ("--offline.steps=200", ["--steps=200"], "today it is --steps"),
        ("--dataset.local_files_only=true", [], "leave it out"),
    ],
)
def test_flags_of_early_2025_are_written_anew(flag, today, said):
    """Tutorials of that time have them; lerobot refuses them now."""
    line = parse_command_line(f"python lerobot/scripts/train.py --policy.type=act {flag}")
    assert ("--policy.type=act", *today) == line.arguments
    assert said in line.mended[-1]


def test_no_flag_of_early_2025_is_one_of_today():
    """Of no tested release."""
    known = {name for version in TESTED for name in tables_of(version)["act"].names()}
    assert set() == known & set(_FLAGS_OF_2025)
    assert {name for name in _FLAGS_OF_2025.values() if name} <= known


def test_a_number_that_a_variable_left_empty_is_said_to_be_so():
    """Nothing sets it."""
    line = parse_command_line("accelerate launch --num_processes=$NOWHERE --multi_gpu lerobot-train")
    with pytest.raises(UsageError, match="--num_processes is empty"):
        launch_of(line, around={"HF_HOME": "/nowhere"})
