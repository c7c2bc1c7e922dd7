"""The pytest fixture `actprof_budget`."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import entry_points

import pytest

from actprof.errors import UsageError

USE = """
def test_budget(actprof_budget):
    run = actprof_budget(set={"chunk_size": 7}, batch_size=8)
    run.assert_fits("RTX 3090")
    run.expect(encoder_tokens=8)
"""


@pytest.fixture
def budget(actprof_budget, seed):
    """The budget of the hand-made policy."""
    seed()
    return actprof_budget(set={"chunk_size": 7}, batch_size=8, capacity="1GiB")


def test_what_holds_is_silent(budget):
    """The same grammar as in scenario files; keywords have underscores for dots."""
    budget.assert_fits()
    budget.assert_fits("RTX 3090")
    budget.assert_at_most(peak_allocated="1 GiB", retries=3)
    budget.expect({"share.parameters": "> 1 %"}, encoder_tokens=7, parameters_trainable=0)
    assert 8 == budget.result.cell.batch_size


def test_messages_show_both_figures(budget):
    """All that is broken is told at once."""
    with pytest.raises(AssertionError) as caught:
        budget.expect(encoder_tokens=8, verdict="oom", retries=0)
    first, tokens, verdict = str(caught.value).splitlines()
    assert "act, 2 cameras at 640x480, batch size 8, on" in first
    assert "  encoder_tokens: expected 8, is 7" == tokens
    assert verdict.startswith("  verdict: expected oom, is fits (it runs with ")


def test_a_run_that_does_not_fit_says_why(actprof_budget, seed):
    """The verdict's reason is in the message."""
    seed()
    small = actprof_budget(set={"chunk_size": 7}, batch_size=256, capacity="900MiB")
    with pytest.raises(AssertionError, match="expected fits or tight, is oom"):
        small.assert_fits()


def test_nonsense_is_a_usage_error(budget, actprof_budget):
    """Not a failed assertion: the test is wrong, not the run."""
    with pytest.raises(UsageError, match="unknown quantity 'encoder_token'"):
        budget.expect(encoder_token=7)
    with pytest.raises(UsageError, match="keep one"):
        actprof_budget(set={}, overrides={})


def test_the_fixture_comes_through_an_entry_point():
    """It is found without any configuration."""
    found = [entry.value for entry in entry_points(group="pytest11") if entry.name == "actprof"]
    assert "actprof.pytest_plugin" in found


def test_the_plugin_imports_nothing_heavy():
    """It is loaded for every run of everybody who has actprof."""
    heavy = ("torch", "lerobot", "numpy", "pandas", "pydantic", "click", "actprof.api")
    code = f"import sys, actprof.pytest_plugin; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True
    )
    assert "[]\n" == done.stdout


def test_it_works_in_a_run_of_its_own_under_strict_warnings(tmp_path, seed):
    """`-W error` stays quiet, and a broken budget fails with both figures."""
    seed()
    (tmp_path / "test_it.py").write_text(USE, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "error", "."],
        capture_output=True, text=True, check=False, cwd=tmp_path,
    )  # fmt: skip
    assert (1, "") == (done.returncode, done.stderr)
    assert "encoder_tokens: expected 8, is 7" in done.stdout
