"""The tree of exceptions and its exit codes."""

import pytest

from actprof import errors


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (errors.ActprofError, 1),
        (errors.UsageError, 2),
        (errors.ScenarioError, 2),
        (errors.UnknownAnswerError, 3),
        (errors.TraceError, 3),
        (errors.DiedError, 3),
        (errors.StoreError, 1),
    ],
)
def test_each_error_carries_its_exit_code(error, expected):
    """The command line needs to know nothing but the base class."""
    assert issubclass(error, errors.ActprofError)
    assert expected == error("text").exit_code
    assert str(error("text")) == "text"


def test_the_tree_at_the_top_of_the_file_names_every_error():
    """The drawing in the docstring is complete."""
    defined = {name for name, value in vars(errors).items() if isinstance(value, type)}
    drawn = {name for name in defined if name in (errors.__doc__ or "")}
    assert defined == drawn
