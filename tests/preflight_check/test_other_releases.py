"""Flags and fields of other releases of lerobot are named, and the rest is answered."""

import json
import subprocess
import sys

import pytest

from actprof.errors import UsageError
from actprof.policies.lerobot_versions import TESTED
from actprof.preflight_check.flag_table import flag_table, tables_of
from actprof.preflight_check.other_releases import left_out
from actprof.preflight_check.read_command import read_command
from actprof.preflight_check.release_traps import release_traps
from actprof.training_command.command_line import parse_command_line
from actprof.training_command.launcher import Launch

LEAST = ["--policy.type=act", "--policy.push_to_hub=false", "--dataset.repo_id=me/x"]
MODULES = ("actprof.policies.lerobot_versions", "actprof.preflight_check.read_command",
           "actprof.preflight_check.flag_table", "actprof.preflight_check.other_releases")  # fmt: skip


@pytest.fixture
def installed(monkeypatch):
    """Pretend that another release of lerobot is installed, or with `unknown` none."""

    def pretend(version):
        for module in MODULES:
            monkeypatch.setattr(f"{module}.package_version", lambda _name: version)

    return pretend


@pytest.mark.parametrize(
    ("version", "flag", "said"),
    [
        ("0.6.1", "eval_freq", "0.6.1 has no --eval_freq (0.4.4 to 0.5.1 had it; now --env_eval_freq)"),
        ("0.5.1", "env_eval_freq", "(0.6.0 to 0.6.2 have it; here --eval_freq)"),
        ("0.6.0", "use_rabc", "(0.4.4 to 0.5.1 had it; now --sample_weighting.type=rabc)"),
        ("0.6.1", "ema.enable", "has no --ema.enable (0.6.2 has it)"),
        ("0.6.1", "accelerator.fsdp.wrap_modules", "(0.6.2 has it)"),
        ("0.4.4", "job.target", "(0.6.0 to 0.6.2 have it)"),
    ],
)
def test_a_flag_of_another_release_is_named_with_those_that_have_it(installed, version, flag, said):
    """And with what it is called in the one that is installed, by the config classes of both."""
    installed(version)
    assert said in left_out(flag, "act")


@pytest.mark.parametrize("version", TESTED)
def test_what_a_release_has_or_nobody_has_is_no_flag_of_another(installed, version):
    """Its own flags, those inside parts that may be null, and words that no release knows."""
    installed(version)
    names = [*flag_table("act").names(), "env.type", "peft.r", "optimizer.lr", "config_path", "nonsense"]
    assert {""} == {left_out(name, "act") for name in names}


def test_a_policy_of_another_release_is_no_traceback(installed):
    """The message names the releases that have it."""
    installed("0.4.4")
    with pytest.raises(UsageError, match=r"0\.4\.4 has no policy 'multi_task_dit'; 0\.5\.1, 0\.6\.0"):
        read_command(["--policy.type=multi_task_dit", *LEAST[1:]])


def test_the_table_in_the_wheel_is_what_lerobot_says():
    """Of the release that is installed here, but for what depends on the machine."""
    from actprof.policies.train_command import describe_fields

    for policy in ("act", "smolvla"):
        fresh, kept = json.loads(json.dumps(describe_fields(policy))), tables_of("0.6.1")[policy]
        fresh["defaults"]["eval"]["batch_size"] = kept.defaults["eval"]["batch_size"]
        fresh["defaults"]["dataset"]["video_backend"] = kept.defaults["dataset"]["video_backend"]
        assert fresh == {"types": kept.types, "defaults": kept.defaults, "checked": list(kept.checked)}


def test_the_rest_of_a_command_is_read():
    """A flag that is left out takes its value along."""
    run = read_command([*LEAST, "--eval_freq", "100", "--batch_size=16", "--ema.enable=true"])
    assert (16, 2, False) == (run.batch_size, len(run.left_out), run.ema)


@pytest.mark.parametrize("version", ["0.6.1", "unknown"])
def test_a_saved_config_of_another_release_is_read_without_its_fields(installed, tmp_path, version):
    """Also where no lerobot is installed; what lerobot 0.6 renames by itself is not said."""
    installed(version)
    policy = {"type": "act", "push_to_hub": False, "chunk_size": 20, "n_action_steps": 20}
    saved = {"dataset": {"repo_id": "me/x"}, "batch_size": 12, "steps": 7, "eval_freq": 5, "use_rabc": False}
    path = tmp_path / "train_config.json"
    path.write_text(json.dumps({**saved, "policy": policy}))
    run = read_command([f"--config_path={path}", "--steps=9"])
    assert (12, 9, {"chunk_size": 20, "n_action_steps": 20}) == (run.batch_size, run.steps, run.overrides)
    assert [True] == ["--eval_freq" in sentence for sentence in run.left_out]


def test_without_lerobot_a_push_without_a_repository_is_refused_and_the_rest_read(installed):
    """As with it."""
    installed("unknown")
    words = [word for word in LEAST if "push_to_hub" not in word]
    run = read_command([*words, "--optimizer.lr=1e-4"])
    assert [True] == ["add --policy.push_to_hub=false" in text for text in run.refused]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--batchsize=4"], "unrecognized arguments: --batchsize=4\ndid you mean --batch_size"),
        (["--policy.chunk_size=50"], "set --policy.n_action_steps to at most the chunk size"),
        (["--batch_size=1.5"], "--batch_size=1.5 is not of the type int"),
        (["--policy.path=me/x"], "Cannot specify both --policy.path and --policy.type"),
        (["--policy.type=pi0.5"], "has no policy 'pi0.5'; did you mean pi05?"),
        (["--policy.type=PI0FAST"], "did you mean pi0_fast?"),
        (["junk"], "not one --flag=value after the other, by 'junk'"),
        (["--steps", "8", "--", "--seed=1"], "after the other, by '--'"),
        (["--steps", "8", "9"], "after the other, by '9'"),
        (["--steps"], "after the other, by '--steps'"),
    ],
)
def test_without_lerobot_the_usual_slips_are_found(installed, words, said):
    """By the tables of the newest release."""
    installed("unknown")
    flags = {word.partition("=")[0] for word in words}
    with pytest.raises(UsageError) as refused:
        read_command([*(word for word in LEAST if word.partition("=")[0] not in flags), *words])
    assert said in str(refused.value)


@pytest.mark.parametrize(
    "words",
    [
        ["--policy.vision_backbone=resnet50", "--dataset.episodes=[0, 1]"],
        ["--optimizer.type=sgd", "--optimizer.lr=1e-3"],
        ["--use_policy_training_preset=false", "--optimizer.type=sgd", "--scheduler.type=diffuser"],
        ["--peft.r=8", "--policy.pretrained_path=me/base"],
        ["--env.type=pusht"],
    ],
)
def test_without_lerobot_a_run_is_what_lerobot_makes_of_it(installed, words):
    """Also where checks and fields of one of several kinds are asked for."""
    with_it = read_command([*LEAST, *words])
    installed("unknown")
    assert with_it == read_command([*LEAST, *words])


def test_plain_commands_of_a_tested_release_import_no_lerobot(tmp_path):
    """Not even the first time on a machine."""
    code = (
        "import sys\nfrom actprof.preflight_check.read_command import read_command\n"
        f"read_command({[*LEAST, '--policy.dropout=0.2']!r})\nprint('lerobot' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        check=True, capture_output=True, text=True, env={"ACTPROF_CACHE_DIR": str(tmp_path)},
    )  # fmt: skip
    assert "False" == done.stdout.strip()


def test_0_6_2_reads_its_own_accelerator(installed):
    """Precision, accumulated batches and the moving average come from the command; the launcher's do not."""
    installed("0.6.2")
    words = ["--accelerator.mixed_precision=bf16", "--accelerator.gradient_accumulation.steps=4",
             "--ema.enable=true", "--parallelism.dp_replicate=2"]  # fmt: skip
    run = read_command([*LEAST, *words])
    assert ("bf16", 4, True, 2, ()) == (run.precision, run.accumulate, run.ema, run.replicas, run.left_out)


@pytest.mark.parametrize("variable", ["ACCELERATE_USE_FSDP", "ACCELERATE_GRADIENT_ACCUMULATION_STEPS"])
def test_0_6_2_does_not_start_with_accelerates_variables(installed, variable):
    """It refuses them, unless another says that they are known of."""
    installed("0.6.2")
    run = read_command(LEAST)
    told = release_traps(run, Launch(), {variable: "1"})
    assert [("accelerate_variables", True)] == [(trap.name, trap.stops) for trap in told]
    allowed = {variable: "1", "LEROBOT_ALLOW_ACCELERATE_ENV": "1"}
    assert [] == list(release_traps(run, Launch(), allowed))


@pytest.mark.parametrize("version", ["0.4.4", "0.6.0", "0.6.2"])
def test_use_amp_is_said_to_be_ignored_where_it_is(installed, version):
    """By all tested releases but 0.6.1."""
    installed(version)
    run = read_command([*LEAST, "--policy.use_amp=true"])
    assert (False, ["use_amp_ignored"]) == (run.use_amp, [t.name for t in release_traps(run, Launch(), {})])


def test_the_command_line_prints_both(installed):
    """The sentence of each flag stops the run; the words before are the command's."""
    line = parse_command_line(["lerobot-train", *LEAST, "--eval_freq=1"])
    traps = list(release_traps(read_command(line.arguments), Launch(), {}))
    assert [("other_lerobot", True)] == [(trap.name, trap.stops) for trap in traps]
    assert "--env_eval_freq" in traps[0].text


def test_a_saved_config_of_early_2025_is_read(tmp_path):
    """Without the fields that no release of today has."""
    policy = {"type": "act", "push_to_hub": False}
    early = {"device": "cuda", "use_amp": False, "offline": {"steps": 9}, "online": {"steps": 0}}
    path = tmp_path / "train_config.json"
    path.write_text(json.dumps({"dataset": {"repo_id": "me/x"}, "policy": policy, "batch_size": 16, **early}))
    run = read_command([f"--config_path={path}"])
    assert (16, len(early)) == (run.batch_size, len(run.left_out))
    assert "has no device (those of early 2025 had it; now --policy.device)" in run.left_out[0]
