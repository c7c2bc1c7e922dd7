"""What a trace knows beyond bytes: shapes in words, and nothing where nothing is known."""

import hypothesis.strategies as st
import pytest
from hypothesis import given

from actprof.trace.model import TraceDetails, shape_text


@pytest.mark.parametrize(
    ("shape", "text"),
    [
        (((0, 1), (8, 0), (602, 0), (602, 0)), "(B, 8, 602, 602)"),
        (((0, 602), (512, 0)), "(B·602, 512)"),
        (((2, 1), (-1, 3)), "(B + 2, B·3 - 1)"),
        (((0, 1),), "(B,)"),
        (((7, 0),), "(7,)"),
        ((), "()"),
        (None, ""),
    ],
    ids=["batch first", "tokens and batch in one", "terms", "one varies", "one", "scalar", "unknown"],
)
def test_a_shape_names_the_batch_size(shape, text):
    """As one would write it by hand."""
    assert text == shape_text(shape)


@given(st.lists(st.tuples(st.integers(0, 99), st.integers(0, 99)), min_size=2), st.integers(2, 99))
def test_a_shapes_text_says_its_sizes(shape, batch):
    """Put in for B, a batch size gives back every dimension."""
    text = shape_text(tuple(shape)).replace("·", "*")
    assert tuple(c + p * batch for c, p in shape) == eval(text, {"B": batch})  # noqa: S307 - our own text


def test_unknown_details_have_a_row_for_everything():
    """Whoever reads them need not ask first."""
    details = TraceDetails.unknown(ops=3, tensors=2)
    assert ("", "", "") == details.op_lines == details.op_callers
    assert (None, None) == details.shapes
    assert ("", "") == details.dtypes == details.owners
    assert [-1, -1] == details.freed_by.tolist()
