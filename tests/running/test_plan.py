"""What is run for a command: as it is, made to fit, or refused."""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import replace

import pytest

from actprof.errors import UsageError
from actprof.prediction.predict import predict_cell
from actprof.preflight_check.flag_table import flag_table
from actprof.results import Verdict
from actprof.running.edit_command import Words, words_of
from actprof.running.plan import NoFitError, make_plan
from actprof.training_command.command_line import Given

CAMERA = {"dtype": "video", "shape": [480, 640, 3], "names": ["height", "width", "channels"]}
JOINTS = {"dtype": "float32", "shape": [6], "names": None}
SMALL = Given(capacity="2GiB")


@pytest.fixture
def words(tmp_path, seed, _own_cache):
    """Return a function that gives the words of a command whose trace, and lerobot's flags, are cached."""
    flag_table("act")
    for batch_size in (1, 2):
        seed(overrides={"chunk_size": 7, "n_action_steps": 7}, batch_size=batch_size)
    info = tmp_path / "meta" / "info.json"
    info.parent.mkdir()

    def command(*more, frames=100_000, before=()):
        cameras = {"observation.images.front": CAMERA, "observation.images.wrist": CAMERA}
        facts = {"total_frames": frames, "total_episodes": 2, "codebase_version": "v3.0", "fps": 30}
        features = {**cameras, "observation.state": JOINTS, "action": JOINTS}
        info.write_text(json.dumps({**facts, "features": features}))
        return [
            *before, "lerobot-train", "--policy.type=act", "--policy.push_to_hub=false",
            "--dataset.repo_id=me/x", f"--dataset.root={tmp_path}", "--policy.chunk_size=7",
            "--policy.n_action_steps=7", *more,
        ]  # fmt: skip

    return command


@pytest.mark.parametrize(
    "given_as", [["--batch_size=4000"], ["--batch_size", "4000"], ["--batch_size=3"], []]
)
def test_fit_takes_the_largest_batch_size_that_surely_fits(words, given_as):
    """Smaller or larger than given, as every prediction of it says; the pre-flight is that of what is run."""
    plan = make_plan(words(*given_as), SMALL, fit=True)
    surely = plan.answer.run.batch_size
    assert (True, surely) == (plan.answer.verdict.runs, plan.answer.result.surely_fits_batch_size)
    roomy = int(re.search(r"tightly; (\d+) leaves room to spare", plan.said)[1])
    sizes = [replace(plan.answer.result.cell, batch_size=size) for size in (roomy, roomy + 1)]
    assert [Verdict.FITS, Verdict.TIGHT] == [predict_cell(cell).verdict for cell in sizes]
    assert (f"--batch_size={surely}",) == plan.changed
    assert 1 == sum("batch_size" in word for word in plan.words.all)
    assert plan.answer.command.text == shlex.join(plan.words.all)
    assert f"--batch_size={surely} (batch size" in plan.said


def test_fit_takes_no_more_than_the_dataset_has(words):
    """A larger batch would only be the same frames."""
    plan = make_plan(words("--batch_size=2", frames=40), SMALL, fit=True)
    assert (("--batch_size=40",), True) == (plan.changed, "frames" in plan.said)


def test_fit_that_changes_nothing_says_so(words):
    """The batch size is the largest already."""
    size = make_plan(words(), SMALL, fit=True).answer.run.batch_size
    plan = make_plan(words(f"--batch_size={size}"), SMALL, fit=True)
    assert ((), f"the batch size stays {size}") == (plan.changed, plan.said.partition(":")[0])


def test_without_fit_the_command_is_run_as_it_is(words, monkeypatch):
    """Or refused with the pre-flight's exit code."""
    monkeypatch.setattr("actprof.preflight_check.run_preflight.find_remedies", lambda *_: ())
    fits, runs_out = (make_plan(words(f"--batch_size={size}"), SMALL) for size in (4, 4000))
    assert (0, 1) == (fits.exit_code, runs_out.exit_code)
    assert (tuple(words("--batch_size=4")), "") == (fits.words.all, fits.said)


def test_a_target_that_fits_needs_no_remedy(words):
    """Only the batch size is another."""
    plan = make_plan(words("--batch_size=8"), SMALL, target_batch=16)
    assert ("--batch_size=16",) == plan.changed
    assert Verdict.FITS == plan.answer.verdict


def test_a_target_beyond_flags_and_variables_is_refused(words):
    """With what surely fits, and where more is known."""
    with pytest.raises(
        NoFitError, match="--fit takes the largest that does, and actprof suggest --target-batch 4000"
    ):
        make_plan(words("--batch_size=8"), SMALL, target_batch=4000)


def test_a_target_is_reached_by_variables_before_the_command(words, monkeypatch):
    """The cheapest lossless remedies that are no code; the pre-flight sees them."""
    from actprof.running import plan as planning

    conf = "expandable_segments:True"

    def offered(answer, _target):
        offers = planning.offers(answer.result.cell)
        return tuple(offer for offer in offers if offer.name == "expandable_segments")

    monkeypatch.setattr(planning, "_lossless", offered)
    before = ("CUDA_VISIBLE_DEVICES=0", "PYTORCH_CUDA_ALLOC_CONF=")
    plan = make_plan(words("--batch_size=8", before=before), SMALL, target_batch=8)
    assert (f"PYTORCH_CUDA_ALLOC_CONF={conf}",) == plan.changed
    assert {"CUDA_VISIBLE_DEVICES": "0", "PYTORCH_CUDA_ALLOC_CONF": conf} == plan.words.environment
    assert conf == plan.answer.result.cell.alloc_conf


def test_a_flag_that_would_not_arrive_is_refused(words):
    """Inside another shell's quotes the words are not ours to change."""
    quoted = ["bash", "-c", shlex.join(words("--batch_size=4000"))]
    with pytest.raises(UsageError, match=r"bash hides lerobot-train's own words.*write --batch_size="):
        make_plan(quoted, SMALL, fit=True)


@pytest.mark.parametrize("flags", [["--policy.device=cpu"], ["--policy.device", "cpu"], []])
def test_a_run_without_cuda_is_not_refused_and_not_changed(words, monkeypatch, flags):
    """It takes no memory of a GPU; what it would take there is told."""
    monkeypatch.setattr("actprof.measuring.nvml.local_gpus", tuple)
    plan = make_plan(words("--batch_size=4000", *flags), Given(), fit=True)
    assert (0, ()) == (plan.exit_code, plan.changed)
    assert plan.said.startswith("the batch size stays 4000: ")
    assert plan.answer.result.peak_allocated_bytes > 0


@pytest.mark.parametrize(
    ("command", "program"),
    [
        (["A=1", "B=x y", "uv", "run", "lerobot-train"], ("uv", "run", "lerobot-train")),
        (["A=1 lerobot-train --x='a b' \\\n --y"], ("lerobot-train", "--x=a b", "--y")),
        (["cd x && lerobot-train --x"], ("sh", "-c", "cd x && lerobot-train --x")),
        (["lerobot-train --x='{\"a\": [1]}'"], ("lerobot-train", '--x={"a": [1]}')),
        (["lerobot-train --dataset.root=$DATA"], ("sh", "-c", "lerobot-train --dataset.root=$DATA")),
        (["exec", "lerobot-train", "--x=a b"], ("sh", "-c", "exec lerobot-train '--x=a b'")),
    ],
)
def test_words_are_run_as_they_are_and_a_shells_text_by_a_shell(command, program):
    """Only where it needs one."""
    assert program == words_of(command).program


def test_a_flag_takes_the_place_of_all_that_was_said_of_it():
    """Also where its value is a word of its own."""
    words = Words(("t", "--a=1", "--b", "2", "--a", "3", "--ab=4"))
    assert ("t", "--a=9", "--b", "2", "--ab=4") == words.with_flag("--a=9").all
    assert "A='x y' t --b=1" == Words(("t", "--b=1")).with_variables({"A": "x y"}).text
