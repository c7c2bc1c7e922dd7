"""Autocast as lerobot's training script decides it."""

import pytest

from actprof.cell import Cell
from actprof.errors import UsageError
from actprof.policies.precision import autocast_of


def cell(policy="act", precision="fp32", **overrides):
    return Cell(policy=policy, precision=precision, overrides=overrides)


@pytest.mark.parametrize("precision", ["fp32", "fp16", "bf16"])
def test_a_policy_without_a_dtype_leaves_it_to_the_launcher(precision):
    """As ACT does."""
    assert precision == autocast_of(cell(precision=precision))


@pytest.mark.parametrize(("precision", "expected"), [("fp32", "fp16"), ("bf16", "bf16")])
def test_use_amp_is_autocasts_default_on_cuda(precision, expected):
    """That is fp16; what a launcher names wins."""
    assert expected == autocast_of(cell(precision=precision, use_amp=True))


@pytest.mark.parametrize("policy", ["xvla", "pi0"])
@pytest.mark.parametrize(
    ("dtype", "expected"), [("float32", "fp32"), ("bfloat16", "bf16"), ("float16", "fp16")]
)
def test_a_policy_with_a_dtype_goes_by_that(policy, dtype, expected):
    """Whatever `use_amp` says, and its default where a run sets none."""
    assert expected == autocast_of(cell(policy, dtype=dtype, use_amp=True))
    assert "fp32" == autocast_of(cell(policy))


@pytest.mark.parametrize(("precision", "dtype"), [("bf16", "bfloat16"), ("fp16", "float16")])
def test_a_launcher_does_not_change_it(precision, dtype):
    """The message says what does; the same precision on both sides is no contradiction."""
    with pytest.raises(
        UsageError, match=f"dtype=float32.*instead of precision {precision} set dtype={dtype}"
    ):
        autocast_of(cell("xvla", precision=precision))
    assert precision == autocast_of(cell("xvla", precision=precision, dtype=dtype))
