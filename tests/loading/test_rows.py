"""Loader results travel as JSON, and find their rows."""

from __future__ import annotations

import json

import pytest
from loader_made import IN_LOADER, PYAV, TORCHCODEC, make_result

from actprof.errors import StoreError
from actprof.loading.rows import COLD, LoaderResult


def test_a_result_comes_back_as_it_was():
    """Through JSON text."""
    result = make_result()
    assert result == LoaderResult.from_json(json.loads(json.dumps(result.to_json())))


@pytest.mark.parametrize(
    "data", [{}, {"schema_version": 99}, {"schema_version": "x"}, {"name": 1, "rows": [3]}]
)
def test_something_else_is_refused(data):
    """A newer schema, or no result at all."""
    with pytest.raises(StoreError):
        LoaderResult.from_json(data)


def test_rows_are_found_by_what_was_loaded():
    """Warm, without workers and of the smallest batch, unless said otherwise."""
    result = make_result()
    assert 0.05 == result.row(PYAV).sample_seconds
    assert 0.03 == result.row(PYAV, workers=2).sample_seconds
    assert 0.08 == result.row(PYAV, cache=COLD).sample_seconds
    assert result.row(PYAV, workers=3) is None
    assert result.row(TORCHCODEC).sample_seconds is None


def test_a_source_says_everything_that_sets_it_apart():
    """Storage, size, decoder, and what the loader does."""
    assert "video 640x480, pyav, resized to 224x224" == str(IN_LOADER)
    assert "224x224" == IN_LOADER.given_size
    assert len(make_result().sources) == len({str(source) for source in make_result().sources})
