"""What is installed, and what is assumed where it is not."""

import pytest

from actprof.errors import UsageError
from actprof.policies.libraries import missing_lerobot, require_lerobot
from actprof.versions import SHIPPED_TORCH, UNKNOWN, torch_version


def only(monkeypatch, installed):
    """Have nothing installed but so many packages with these versions."""
    for module in ("actprof.versions", "actprof.policies.libraries"):
        monkeypatch.setattr(f"{module}.package_version", lambda name: installed.get(name, UNKNOWN))


def test_without_torch_its_version_is_that_of_the_shipped_traces(monkeypatch):
    """Whose allocator is replayed."""
    only(monkeypatch, {})
    assert SHIPPED_TORCH.split(".")[:2] == [str(number) for number in torch_version()]


@pytest.mark.parametrize(
    ("installed", "missing"),
    [({}, "lerobot"), ({"torch": "2.11.0"}, "lerobot"), ({"lerobot": "0.6.1"}, "torch")],
)
def test_what_is_missing_is_told_with_how_to_get_it(monkeypatch, installed, missing):
    """By one sentence, everywhere."""
    only(monkeypatch, installed)
    assert f"{missing} is not installed here (pip install 'actprof[lerobot]')" == missing_lerobot()
    with pytest.raises(UsageError, match=f"measuring runs lerobot, but {missing} is not installed"):
        require_lerobot("measuring")
