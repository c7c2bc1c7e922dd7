"""For which GPU a calibration holds, where it is found, and what it does to a predicted step."""

from __future__ import annotations

import json
import logging
from dataclasses import replace

import pytest

from actprof.errors import UsageError
from actprof.prediction.predict import predict_cell
from actprof.step_time import kernel
from actprof.step_time.calibration import (
    CONV,
    GROUPS,
    HALF,
    MEMORY,
    STRIDES,
    SUMS,
    TF32,
    VARIABLE,
    Calibration,
    calibration_of,
    group_of,
    own_calibration_file,
    uncalibrated,
)
from actprof.step_time.host import default_host
from actprof.step_time.kernel import Kernel
from actprof.step_time.kernel_time import KernelTime
from actprof.versions import package_version

VERSIONS = {"actprof": package_version("actprof")}
SLOWER = Calibration(gpu="RTX 3090", factors=dict.fromkeys(GROUPS, 3.0), versions=VERSIONS)


@pytest.fixture(autouse=True)
def _configuration(tmp_path, monkeypatch):
    monkeypatch.setenv("ACTPROF_CONFIG_DIR", str(tmp_path / "config"))
    monkeypatch.delenv(VARIABLE, raising=False)


def write(calibration, path=None):
    """Write a calibration, the user's own without a path."""
    file = path or own_calibration_file()
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(calibration.to_json()))
    return file


def test_every_kind_of_kernel_has_a_group():
    """Products by what they multiply in; what nobody has put elsewhere moves memory."""
    kinds = [value for name, value in vars(kernel).items() if name.isupper() and isinstance(value, str)]
    groups = {kind: group_of(Kernel(kind, 1.0)) for kind in kinds}

    assert set(GROUPS) - {HALF} == set(groups.values())
    assert HALF == group_of(Kernel(kernel.PRODUCT, 1.0, dtype="bfloat16"))
    assert (TF32, CONV, STRIDES) == tuple(
        groups[kind] for kind in (kernel.ATTENTION, kernel.CONVOLUTION, kernel.POOL)
    )
    assert (SUMS, MEMORY, MEMORY) == tuple(
        groups[kind] for kind in (kernel.SOFTMAX, kernel.MULTI_TENSOR, kernel.LAYOUT)
    )


def test_a_factor_leaves_the_least_time_as_it_is():
    """What an empty kernel takes is no matter of bandwidth."""
    found = Calibration(factors={MEMORY: 2.0}).corrected(
        Kernel(kernel.ELEMENTWISE, 1.0), KernelTime(1.0, 2.0, 3.0)
    )

    assert KernelTime(1.0, 4.0, 6.0) == found
    assert KernelTime(1.0, 2.0, 3.0) == Calibration().corrected(
        Kernel(kernel.SOFTMAX, 1.0), KernelTime(1.0, 2.0, 3.0)
    )


def test_it_holds_for_its_gpu_by_any_name_and_for_no_other(monkeypatch):
    """One without a GPU is about the host: it holds for all, but only where it is named."""
    write(SLOWER)
    assert SLOWER == calibration_of("RTX 3090")
    assert SLOWER == calibration_of("GeForce", ("RTX 3090",))
    assert calibration_of("T4") is None

    host = Calibration(host=default_host(), versions=VERSIONS)
    path = write(host)
    assert calibration_of("T4") is None
    monkeypatch.setenv(VARIABLE, str(path))
    assert host == calibration_of("T4")


def test_a_named_file_comes_before_the_users_own(tmp_path, monkeypatch):
    """A user without either has none."""
    assert calibration_of("RTX 3090") is None

    write(SLOWER)
    other = replace(SLOWER, factors={})
    monkeypatch.setenv(VARIABLE, str(write(other, tmp_path / "other.json")))
    assert other == calibration_of("RTX 3090")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("no JSON", "is no calibration"),
        ("[]", "is no calibration"),
        ('{"host": 3}', "is no calibration"),
        ('{"schema_version": 99}', "has schema 99"),
    ],
)
def test_a_file_that_is_none_is_refused(text, said):
    """With its name and what to do."""
    write(SLOWER).write_text(text)

    with pytest.raises(UsageError, match=rf"calibration\.json {said}.*calibrate"):
        calibration_of("RTX 3090")


def test_a_named_file_that_is_missing_is_refused(tmp_path, monkeypatch):
    """The user's own may be missing."""
    monkeypatch.setenv(VARIABLE, str(tmp_path / "nothing.json"))

    with pytest.raises(UsageError, match=r"nothing\.json cannot be read: No such file"):
        calibration_of("RTX 3090")


def test_one_of_another_version_is_told(caplog):
    """Its factors are over what that version predicted."""
    write(replace(SLOWER, versions={"actprof": "0.0.1"}))
    with caplog.at_level(logging.WARNING):
        assert calibration_of("RTX 3090") is not None

    assert "was made with actprof 0.0.1" in caplog.text


def test_what_may_not_depend_on_the_machine_has_none():
    """The ledger's predictions are the same everywhere."""
    write(SLOWER)

    with uncalibrated():
        assert calibration_of("RTX 3090") is None
    assert calibration_of("RTX 3090") is not None


def test_a_prediction_rests_on_it_and_says_so(seed):
    """A host ten times as slow and kernels three times as slow make a step longer; memory stays."""
    cell = seed(batch_size=8)
    before = predict_cell(cell)
    slow = replace(default_host().faster(0.1), name="an old laptop")
    write(replace(SLOWER, host=slow))
    after = predict_cell(cell)

    assert after.step_seconds.median > before.step_seconds.median
    assert before.peak_allocated_bytes == after.peak_allocated_bytes
    said = " ".join(after.assumptions)
    assert "calibration" in said
    assert "an old laptop" in said
