"""The public API, as a user of the package sees it."""

from __future__ import annotations

import subprocess
import sys

import pytest

import actprof
from actprof.errors import UsageError
from actprof.units import GIB


def test_every_public_name_is_there_and_the_list_is_sorted():
    """`__all__` is explicit, sorted and complete."""
    assert sorted(actprof.__all__) == actprof.__all__
    for name in actprof.__all__:
        assert getattr(actprof, name) is not None
    with pytest.raises(AttributeError):
        _ = actprof.no_such_name


def test_importing_the_package_imports_no_library():
    """`import actprof` alone brings neither torch nor pandas nor click."""
    code = (
        "import sys, actprof; "
        "print([m for m in ('torch', 'lerobot', 'pandas', 'plotly', 'numpy', 'click') if m in sys.modules])"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert "[]\n" == shown.stdout


def test_predict_takes_texts_for_sizes_and_loose_names(seed):
    """Sizes may be text and GPUs loosely named; the result holds bytes and the catalogue's name."""
    seed()
    result = actprof.predict(overrides={"chunk_size": 7}, gpu="rtx3090", used_by_others="2GiB")

    assert ("RTX 3090", 2 * GIB) == (result.cell.gpu, result.cell.used_by_others_bytes)


def test_a_capacity_alone_stands_for_a_gpu_of_that_size(seed):
    """No GPU and 16 GiB: a card of 16 GiB."""
    seed()
    result = actprof.predict(overrides={"chunk_size": 7}, capacity="16GiB")

    assert 16 * GIB == result.gpu.capacity_bytes


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"batch_size": 0}, "batch_size is 0; it must be at least 1"),
        ({"cameras": -1}, "cameras is -1"),
        ({"cameras": ["640x480", "480"]}, "'480' is not a resolution"),
        ({"accumulate": 0}, "accumulate is 0"),
        ({"resolution": "640*480"}, "'640\\*480' is not a resolution; write WIDTHxHEIGHT"),
        ({"policy": "atc"}, "did you mean act"),
        ({"precision": "fp8"}, "'fp8' is not a precision"),
        ({"capacity": "many"}, "'many' is not a size"),
        ({"colour": "red"}, "colour"),
        ({"used_by_others": "-1GiB"}, "is not a size"),
    ],
)
def test_options_that_cannot_be_are_usage_errors(options, words):
    """Each names the value and what would do."""
    with pytest.raises(UsageError, match=words):
        actprof.predict(**options)
