"""What a policy is built of beside lerobot and torch: its versions, and the extra of lerobot that has it."""

from __future__ import annotations

import pytest

from actprof.cell import Cell
from actprof.errors import UsageError
from actprof.policies.libraries import missing_libraries_are_named, versions_for


@pytest.fixture
def installed(monkeypatch):
    """Pretend that these libraries are installed, and no others."""
    versions = {"actprof": "1", "lerobot": "2", "torch": "3", "transformers": "4", "peft": "5"}
    monkeypatch.setattr("actprof.versions.package_version", lambda name: versions.get(name, "unknown"))
    return versions


def test_a_trace_of_act_outlives_a_library_that_it_does_not_use(installed):
    """An adapter uses one; what is not installed has no version."""
    own = {"actprof", "lerobot", "torch"}

    assert own == set(versions_for(Cell()))
    assert own | {"peft"} == set(versions_for(Cell(peft={"r": 4})))
    assert {name: installed[name] for name in (*own, "transformers")} == versions_for(Cell(policy="smolvla"))


def test_a_library_that_is_missing_is_named_with_its_extra():
    """Whoever says it: the import itself, or lerobot as a reason to refuse the policy."""
    expected = r"SmolVLA cannot be built: No module named 'transformers'; pip install 'lerobot\[smolvla\]'"
    with pytest.raises(UsageError, match=expected), missing_libraries_are_named(Cell(policy="smolvla")):
        raise ModuleNotFoundError("No module named 'transformers'")

    refusal = UsageError("lerobot refuses this policy: …")
    refusal.__cause__ = ImportError("'peft' is required but not installed. Install it with: pip")
    expected = r"not installed; pip install 'lerobot\[peft\]'"
    with pytest.raises(UsageError, match=expected), missing_libraries_are_named(Cell(peft={"r": 4})):
        raise refusal


def test_what_is_no_missing_library_passes_through():
    """As it was raised."""
    with pytest.raises(UsageError, match=r"^no such field$"), missing_libraries_are_named(Cell()):
        raise UsageError("no such field")
    with pytest.raises(ValueError, match=r"^odd$"), missing_libraries_are_named(Cell(policy="smolvla")):
        raise ValueError("odd")
