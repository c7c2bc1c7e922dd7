"""Reading a command by hand, held to lerobot's own parser on random commands."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from actprof.errors import ActprofError, UsageError
from actprof.preflight_check.flag_table import flag_table
from actprof.preflight_check.named_values import last_of_each
from actprof.preflight_check.read_command import read_command, read_quickly, read_with_lerobot

pytestmark = pytest.mark.usefixtures("act_flags")  # lerobot is not imported while examples are drawn

LEAST = ["--policy.type=act", "--policy.push_to_hub=false", "--dataset.repo_id=me/x"]
VALUES = {
    "int": ["1", "7", "64", "0", "-3", "010", "1_000", "1.5", "true", "null", "x", "0x10", "1e3", "+4", ""],
    "float": ["1", "0.5", "1e-5", "1.e-4", ".5", "nan", ".inf", "true", "x", "null", "-0.1"],
    "bool": ["true", "false", "True", "FALSE", "yes", "off", "1", "null", "maybe"],
    "str": ["resnet18", "resnet34", "vgg16", "a/b", "cuda", "cpu", "null", "yes", "12", "1e3", "2024-01-01",
            "include", "a b", "spawn", "fork", "no", "'x'", "[1]", "{a: 1}", "~", "=", "a=b", "1:30", "x:y"],
    "Path": ["outputs/x", "./a//b", "/usr", "..", "7"],
}  # fmt: skip
EXTRA = ["--optimizer.type=sgd", "--foo=1", "--batch_size", "junk", "--policy.type=smolvla", "--batch-size=4",
         "--batch_size=9", "--policy.path=nowhere", "--policy.path=lerobot/smolvla_base",
         "--policy.pretrained_path=me/x", "--dataset.episodes=[0]", "--env.type=pusht", "--resume",
         "--peft.r=4", "--scheduler.type=diffuser", "--policy.tags=[a]", "-h"]  # fmt: skip


@st.composite
def commands(draw):
    """Draw the arguments of a command: mostly what lerobot accepts."""
    flags = draw(st.lists(st.sampled_from(sorted(flag_table("act").types)), max_size=3, unique=True))
    words = [word for word in LEAST if word.partition("=")[0][2:] not in flags]
    for flag in flags:
        kind = flag_table("act").types[flag].removesuffix("?")
        value = draw(st.sampled_from([*VALUES[kind], *VALUES[kind][:3] * 8]))
        words += [f"--{flag}={value}"] if draw(st.booleans()) else [f"--{flag}", value]
    if draw(st.integers(0, 5)) == 0:
        words.insert(draw(st.integers(0, len(words))), draw(st.sampled_from(EXTRA)))
    return words


@pytest.mark.slow
@settings(max_examples=250, deadline=None, suppress_health_check=list(HealthCheck))
@given(commands())
def test_both_ways_read_the_same_run(words):
    """What is read by hand is what lerobot reads; what lerobot refuses is not read by hand."""
    try:
        quick = read_quickly(words)
    except UsageError:
        with pytest.raises(UsageError):
            read_with_lerobot(words)
        return
    try:
        slow = read_with_lerobot(words)
    except ActprofError:
        slow = None
    assert quick is None or str(slow) == str(quick)  # texts, as not-a-number equals nothing


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["--policy.chunk_size", "50", "--policy.n_action_steps=50", "--batch_size=64", "--steps=50000"],
        ["--policy.use_vae=false", "--policy.dropout=1e-1", "--cudnn_deterministic=true"],
        ["--job.target=a10g-large", "--wandb.enable=true", "--num_workers=8", "--seed=null"],
        ["--output_dir=outputs/./x", "--save_freq=100", "--policy.optimizer_lr=1e-4"],
    ],
)
def test_the_usual_commands_need_no_lerobot(words):
    """Plain ACT commands are read by hand, and as lerobot reads them."""
    quick = read_quickly([*LEAST, *words])
    assert quick is not None
    assert quick == read_with_lerobot([*LEAST, *words])


def test_each_policy_has_a_table_of_its_own():
    """What another policy's checks look at is left to lerobot; its defaults are no changes."""
    words = ["--policy.type=diffusion", *LEAST[1:]]
    quick = read_quickly([*words, "--batch_size=4"])
    assert quick == read_with_lerobot([*words, "--batch_size=4"])
    assert ("diffusion", {}, {}) == (quick.policy_type, quick.overrides, quick.normalization)
    assert None is read_quickly([*words, "--policy.horizon=32"])
    assert {"horizon": 32} == read_command([*words, "--policy.horizon=32"]).overrides


@pytest.mark.parametrize(
    ("words", "refused"),
    [
        (["--policy.push_to_hub=true"], ["add --policy.push_to_hub=false"]),
        (["--output_dir=/usr"], ["folder is there already"]),
        (["--output_dir=/usr", "--policy.push_to_hub=true"], ["push to the Hub", "folder is there already"]),
        (["--output_dir=/usr", "--policy.push_to_hub=true", "--optimizer.lr=1"], ["push", "folder"]),
        (["--policy.repo_id=me/act", "--policy.push_to_hub=true"], []),
    ],
)
def test_a_refused_folder_or_push_is_said_and_the_rest_read(words, refused):
    """Its memory is that of the command as its author meant it."""
    flags = {word.partition("=")[0] for word in words}
    run = read_command([*(word for word in LEAST if word.partition("=")[0] not in flags), *words])
    assert len(refused) == len(run.refused)
    assert all(said in text for said, text in zip(refused, run.refused, strict=True))
    assert ("act", 8) == (run.policy_type, run.batch_size)


def test_of_a_flag_that_stands_twice_the_last_counts():
    """As argparse has it; lerobot need not be asked."""
    words = [*LEAST, "--batch_size=4", "--steps", "7", "--batch_size", "9"]
    assert [*LEAST, "--steps", "7", "--batch_size", "9"] == last_of_each(words)
    assert 9 == read_command(words).batch_size == read_with_lerobot(words).batch_size


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--batchsize=4"], "unrecognized arguments: --batchsize=4\ndid you mean --batch_size"),
        (["--policy.chunk_size=50"], "set --policy.n_action_steps to at most the chunk size"),
        (["--batch_size=1.5"], "Couldn't parse '1.5' into an int"),
        (["--batch_size=null"], "--batch_size is None; it must be a whole number"),
        (["--config_path=nowhere.json"], "No such file or directory: 'nowhere.json'"),
        (["--help"], "run `lerobot-train --help`"),
    ],
)
def test_a_refused_command_is_refused_in_lerobots_words(words, said):
    """The message is lerobot's own, and says what to change."""
    flags = {word.partition("=")[0] for word in words}
    with pytest.raises(UsageError) as refused:
        read_command([*(word for word in LEAST if word.partition("=")[0] not in flags), *words])
    assert said in str(refused.value)


def test_a_saved_config_means_what_it_means_to_lerobot(tmp_path):
    """A train_config.json is read by lerobot; flags beside it win."""
    path = tmp_path / "train_config.json"
    path.write_text(
        '{"dataset": {"repo_id": "me/x"}, "batch_size": 12, "steps": 7,'
        ' "policy": {"type": "act", "push_to_hub": false, "chunk_size": 20, "n_action_steps": 20}}'
    )
    run = read_command([f"--config_path={path}", "--batch_size=24"])
    assert (24, 7, {"chunk_size": 20, "n_action_steps": 20}) == (run.batch_size, run.steps, run.overrides)


def test_a_pretrained_policy_brings_its_config(tmp_path):
    """--policy.path takes the config from the folder; no weights are read."""
    (tmp_path / "config.json").write_text(
        '{"type": "act", "chunk_size": 30, "n_action_steps": 30, "push_to_hub": false, "input_features":'
        ' {"observation.images.top": {"type": "VISUAL", "shape": [3, 96, 96]}}}'
    )
    run = read_command([f"--policy.path={tmp_path}", "--dataset.repo_id=me/x"])
    assert ({"chunk_size": 30, "n_action_steps": 30}, ["observation.images.top"]) == (
        run.overrides, list(run.input_features),
    )  # fmt: skip


def test_an_optimizer_counts_only_without_the_preset():
    """The preset replaces the optimizer of the command; without the preset it trains."""
    ignored = read_command([*LEAST, "--optimizer.type=sgd"])
    used = read_command(
        [*LEAST, "--use_policy_training_preset=false", "--optimizer.type=sgd", "--scheduler.type=diffuser"]
    )
    assert [("preset", "sgd"), ("sgd", "")] == [(r.optimizer, r.optimizer_ignored) for r in (ignored, used)]


def test_a_saved_configs_learning_rate_is_replaced_as_well(tmp_path):
    """Where somebody wrote another one into the file; lerobot's own files hold the preset's."""
    path = tmp_path / "train_config.json"
    saved = (
        '{"dataset": {"repo_id": "me/x"}, "policy": {"type": "act", "push_to_hub": false}, "optimizer": %s}'
    )
    rates = []
    for rate in ("2e-4", "1e-5"):
        path.write_text(saved % f'{{"type": "adamw", "lr": {rate}}}')
        rates.append(read_command([f"--config_path={path}"]).rate_replaced)
    assert [2e-4, None] == rates
