"""`actprof policies`: what is traced and why not, how sure it is, what it needs."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from actprof.api import known_policies
from actprof.cell import Cell
from actprof.ledger.comparison import Figures
from actprof.ledger.keep import write_rows
from actprof.ledger.row import AccuracyRow
from actprof.policies import policy_names
from actprof.policies.untraced import UNTRACED

GIB = 2**30


@pytest.fixture
def ledger(tmp_path):
    """Return a folder with two rows of SmolVLA, measured and published, the first 1 % off."""

    def row(origin, gpu, measured):
        predicted, was = Figures(allocated_bytes=99 * GIB), Figures(allocated_bytes=measured)
        cell = Cell(policy="smolvla", gpu="RTX 3090")
        return AccuracyRow(cell=cell, origin=origin, gpu=gpu, predicted=predicted, measured=was)

    write_rows(tmp_path, [row("measured", "RTX 3090", 100 * GIB), row("published", "RTX 3080", 99 * GIB)])
    return tmp_path


def test_every_policy_is_listed_once(run, tmp_path, monkeypatch):
    """At 80 columns as at 120 no name is cut, and those that are not traced come with a reason."""
    for columns in (80, 120):
        monkeypatch.setenv("COLUMNS", str(columns))
        shown = run("policies", "--ledger", tmp_path).out
        assert [] == [line for line in shown.splitlines() if len(line) > columns]
        starts = [line.split()[0] for line in shown.splitlines() if line.split()]
        assert all(starts.count(name) == 1 for name in (*policy_names(), *UNTRACED))


def test_how_sure_it_is_comes_from_the_ledger(run, ledger, monkeypatch):
    """Runs, devices and the largest difference; of others it is said that there is none."""
    monkeypatch.setenv("COLUMNS", "160")
    shown = run("policies", "--ledger", ledger).out
    line = next(line for line in shown.splitlines() if line.startswith("smolvla"))
    assert "measured: 1 run on RTX 3090, within 1.00 %; published: 1 run on RTX 3080, within 0.00 %" in line
    assert "no run to hold it against" in next(x for x in shown.splitlines() if x.startswith("xvla"))


def test_one_policy_comes_with_its_runs_and_a_command(run, ledger):
    """`actprof policies NAME`, by lerobot's name or people's."""
    for name in ("smolvla", "SmolVLA"):
        shown = run("policies", name, "--ledger", ledger).out
        assert "measured: 1 run on RTX 3090, allocated within 1.00 %" in shown
        assert "actprof predict --policy smolvla" in shown


def test_what_is_not_traced_says_why_wherever_it_is_asked_for(run):
    """The list, the error of a prediction, and a name that nobody knows."""
    assert "not traced: lerobot-train cannot train it" in run("policies", "gaussian_actor").out
    failed = run("predict", "--policy", "gaussian_actor")
    assert (2, True) == (failed.code, "takes no dataset_stats" in failed.err)
    unknown = run("policies", "smolvlaa")
    assert (2, True) == (unknown.code, "smolvla" in unknown.err)


def test_packages_that_a_policy_lacks_are_named(run, monkeypatch):
    """With the extra of lerobot that brings them."""
    monkeypatch.setattr("actprof.api.policies.missing_packages", lambda extra: (f"needed-by-{extra}",))
    assert "pip install 'lerobot[smolvla]': needed-by-smolvla" in run("policies", "smolvla").out
    shown = run("policies").out
    assert ("smolvla *" in shown, "* not installed here" in shown) == (True, True)


def test_json_has_one_object_a_policy(run, ledger):
    """With everything that the tables are made of."""
    found = json.loads(run("policies", "--json", "--ledger", ledger).out)
    assert [policy.name for policy in known_policies()] == [policy["name"] for policy in found]
    smolvla = next(policy for policy in found if policy["name"] == "smolvla")
    assert [("measured", 1), ("published", 1)] == [(e["origin"], e["runs"]) for e in smolvla["evidence"]]


def test_the_list_needs_no_torch():
    """Neither torch nor lerobot is imported."""
    code = (
        "import sys; from actprof.api import known_policies; known_policies(); "
        "print([name for name in ('torch', 'lerobot', 'transformers') if name in sys.modules])"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "[]\n" == shown.stdout
