"""Commands are taken apart as a shell and a launcher would."""

from __future__ import annotations

import pytest

from actprof.cell import Cell
from actprof.errors import UsageError
from actprof.training_command.command_line import parse_command_line
from actprof.training_command.launcher import AllocatorSettings, allocator_settings, launch_of
from actprof.training_command.sharing import Sharing, cell_fields

FLAGS = ("--policy.type=act", "--batch_size=8")


@pytest.mark.parametrize(
    ("prefix", "launcher"),
    [
        ("lerobot-train", ""),
        ("/opt/venv/bin/lerobot-train", ""),
        ("python -m lerobot.scripts.lerobot_train", ""),
        ("python3.12 -u src/lerobot/scripts/lerobot_train.py", ""),
        ("uv run --extra training lerobot-train", ""),
        ("env OMP_NUM_THREADS=1 nohup lerobot-train", ""),
        ("accelerate launch --num_processes=2 lerobot-train", "accelerate"),
        ("uv run accelerate launch -m lerobot.scripts.lerobot_train", "accelerate"),
        ("python -m accelerate.commands.launch lerobot-train", "accelerate"),
        ("torchrun --nproc_per_node=2 -m lerobot.scripts.lerobot_train", "torchrun"),
    ],
)
def test_what_stands_before_the_program(prefix, launcher):
    """Whatever launches it, lerobot's own arguments are those after it."""
    line = parse_command_line(f"{prefix} {' '.join(FLAGS)}")
    assert (FLAGS, launcher) == (line.arguments, line.launcher)


def test_a_whole_command_in_quotes_is_the_same_command():
    """As from `-- "$TRAIN"`."""
    text = "A=1 lerobot-train --policy.type=act --batch_size=8"
    assert parse_command_line(text) == parse_command_line([text])


def test_variables_before_the_command_are_its_environment():
    """They win over those around."""
    line = parse_command_line(["A=1", "B=x=y", "lerobot-train", "C=3"])
    assert {"A": "1", "B": "x=y", "D": "4"} == line.seen_environment({"A": "0", "D": "4"})
    assert ("C=3",) == line.arguments


@pytest.mark.parametrize(
    "command", ["", "ls -l", "--gpu x lerobot", "echo lerobot-train", "lerobot-train 'x"]
)
def test_another_command_is_refused_with_an_example(command):
    """The message shows how to write it."""
    with pytest.raises(UsageError, match=r"lerobot-train --policy\.type=act"):
        parse_command_line(command)


def launched(text, **around):
    around.setdefault("HF_HOME", "/nowhere")
    return launch_of(parse_command_line(f"{text} lerobot-train"), around=around)


def test_accelerates_options_decide_processes_and_precision():
    """Hyphens or underscores, with or without an equals sign."""
    launch = launched("accelerate launch --num-processes 2 --mixed_precision=bf16 --main_process_port 0")
    assert (2, "bf16", "") == (launch.processes, launch.precision, launch.unsupported)


def test_without_a_number_accelerate_takes_every_gpu():
    """As many processes as there are GPUs, which a prediction may not know."""
    assert None is launched("accelerate launch").processes


def test_accelerates_config_file_stands_behind_its_options(tmp_path):
    """The user's default file, or the one named; an option wins."""
    (tmp_path / "accelerate").mkdir()
    file = tmp_path / "accelerate" / "default_config.yaml"
    file.write_text("num_processes: 4\nmixed_precision: fp16\ndistributed_type: MULTI_GPU\n")
    usual = launched("accelerate launch", HF_HOME=str(tmp_path))
    named = launched(f"accelerate launch --config_file {file} --num_processes=1")

    assert [(4, "fp16"), (1, "fp16")] == [(launch.processes, launch.precision) for launch in (usual, named)]
    with pytest.raises(UsageError, match=r"config file no\.yaml is not there"):
        launched("accelerate launch --config_file=no.yaml")


def test_a_launcher_file_with_odd_values_is_read_all_the_same(tmp_path):
    """Accelerate takes nothing from a `dynamo_config` or `fsdp_config` that is no mapping."""
    file = tmp_path / "odd.yaml"
    file.write_text("num_processes: 2\ndynamo_config: [1]\nfsdp_config: [1]\n")
    assert 2 == launched(f"accelerate launch --config_file {file}").processes


@pytest.mark.parametrize(
    ("text", "around", "said"),
    [
        ("accelerate launch --use_deepspeed", {}, "DeepSpeed"),
        ("accelerate launch --mixed_precision=fp8", {}, "fp8"),
        ("accelerate launch --dynamo_backend=inductor", {}, "compiles"),
        ("", {"ACCELERATE_DYNAMO_BACKEND": "INDUCTOR"}, "compiles"),
    ],
)
def test_what_cannot_be_traced_is_said(text, around, said):
    """A wrapped or compiled model is not what is traced."""
    assert said in launched(text, **around).unsupported


FSDP_FILE = """distributed_type: FSDP
num_processes: 4
fsdp_config:
  fsdp_version: 2
  fsdp_auto_wrap_policy: TRANSFORMER_BASED_WRAP
  fsdp_transformer_layer_cls_to_wrap: ACTEncoderLayer,ACTDecoderLayer
  fsdp_reshard_after_forward: false
"""
LAYERS = ("ACTEncoderLayer", "ACTDecoderLayer")


@pytest.mark.parametrize(
    ("text", "around", "processes", "expected"),
    [
        ("", {}, 1, Sharing()),
        ("accelerate launch", {}, None, Sharing()),
        ("accelerate launch --num_processes=2", {}, 2, Sharing()),
        ("accelerate launch --num_processes=1", {}, 1, Sharing()),
        ("accelerate launch --multi_gpu --num_processes 2", {}, 2, Sharing(strategy="ddp")),
        ("torchrun", {}, 1, Sharing(strategy="ddp")),
        ("torchrun --nproc-per-node=8", {}, 8, Sharing(strategy="ddp")),
        ("", {"WORLD_SIZE": "2", "LOCAL_RANK": "0"}, 2, Sharing(strategy="ddp")),
        (
            "accelerate launch --num_processes=2 --use_fsdp --fsdp_version=2",
            {}, 2, Sharing(strategy="fsdp"),
        ),
        (
            "accelerate launch --config_file=fsdp.yaml",
            {}, 4, Sharing(strategy="fsdp", reshard_after_forward=False, wrap_modules=LAYERS),
        ),
        (
            "accelerate launch --config_file=fsdp.yaml --fsdp_reshard_after_forward=true",
            {}, 4, Sharing(strategy="fsdp", wrap_modules=LAYERS),
        ),
        (
            "torchrun --nproc_per_node=2",
            {"ACCELERATE_USE_FSDP": "true", "FSDP_VERSION": "2", "FSDP_TRANSFORMER_CLS_TO_WRAP": "A"},
            2, Sharing(strategy="fsdp", wrap_modules=("A",)),
        ),
    ],
)  # fmt: skip
def test_how_gpus_share_is_read_from_launchers_and_their_files(tmp_path, text, around, processes, expected):
    """As accelerate takes it: options before the file; torchrun's ranks are a group even if it is of one."""
    text = text.replace("fsdp.yaml", str(tmp_path / "fsdp.yaml"))
    (tmp_path / "fsdp.yaml").write_text(FSDP_FILE)
    launch = launched(text, **around)
    assert (processes, expected) == (launch.processes, launch.sharing)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("torchrun --nnodes=2 --nproc_per_node=8", (16, 2)),
        ("torchrun --nnodes=1:4 --nproc_per_node=8", (8, 1)),
        ("accelerate launch --num_processes=16 --num_machines=2", (16, 2)),
        ("accelerate launch --num_processes=4", (4, 1)),
    ],
)
def test_machines_are_counted(text, expected):
    """The processes are those of all of them."""
    launch = launched(text)
    assert expected == (launch.processes, launch.machines)


def test_several_processes_share_by_ddp_unless_something_else_is_said():
    """One process alone is not wrapped, unless torchrun started it."""
    ddp, fsdp = Sharing(strategy="ddp"), Sharing(strategy="fsdp")
    plain = Sharing(strategy="ddp", find_unused_parameters=False)
    assert {} == cell_fields(None, Sharing(), 1) == cell_fields(plain, Sharing(), 1)
    assert "ddp" == Cell(**cell_fields(None, Sharing(), 2)).strategy
    assert ("ddp", 1) == (Cell(**cell_fields(None, ddp, 1)).strategy, cell_fields(None, ddp, 1)["world_size"])
    assert not Cell(**cell_fields(plain, ddp, 2)).find_unused_parameters
    assert {"fsdp"} == {cell_fields(*both, 2)["strategy"] for both in ((ddp, fsdp), (fsdp, ddp))}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("", "FSDP1"),
        ("", "as one unit"),
        ("--fsdp_version=2 --fsdp_offload_params=true", "offload"),
        ("--fsdp_version=2 --fsdp_auto_wrap_policy=SIZE_BASED_WRAP", "min_num_params"),
        ("--fsdp_version=2 --fsdp_activation_checkpointing=true", "activation checkpointing"),
        ("--fsdp_version=2 --fsdp_sharding_strategy=HYBRID_SHARD", "HSDP"),
    ],
)
def test_what_of_fsdp_is_not_traced_is_said(options, said):
    """With what is, where there is something."""
    assert said in launched(f"accelerate launch --num_processes=2 --use_fsdp {options}").sharing.unsupported


def test_accelerates_environment_counts_without_a_launcher():
    """Lerobot hands accelerate no precision, so that accelerate reads its variable."""
    launch = launched("", ACCELERATE_MIXED_PRECISION="bf16", WORLD_SIZE="2")
    assert ("bf16", 2) == (launch.precision, launch.processes)


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, AllocatorSettings()),
        ({"PYTORCH_ALLOC_CONF": "a:1"}, AllocatorSettings("a:1", "PYTORCH_ALLOC_CONF")),
        (
            {"PYTORCH_ALLOC_CONF": "a:1", "PYTORCH_CUDA_ALLOC_CONF": "b:2"},
            AllocatorSettings("b:2", "PYTORCH_CUDA_ALLOC_CONF", "PYTORCH_ALLOC_CONF"),
        ),
        (
            {"PYTORCH_ALLOC_CONF": "a:1", "PYTORCH_CUDA_ALLOC_CONF": ""},
            AllocatorSettings("", "PYTORCH_CUDA_ALLOC_CONF", "PYTORCH_ALLOC_CONF"),
        ),
    ],
)
def test_the_older_variable_wins(environment, expected):
    """Torch 2.11 reads PYTORCH_CUDA_ALLOC_CONF where it is set, even to nothing; the two are never merged."""
    assert expected == allocator_settings(environment)
