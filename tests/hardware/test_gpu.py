"""The record of one GPU."""

import json

import pytest

from actprof.hardware import Gpu, all_gpus
from actprof.hardware.gpu import SCHEMA_VERSION
from actprof.records import from_plain

SMALL = {"name": "Small", "capacity_bytes": 2**30, "context_bytes": 2**28, "compute_capability": [8, 6]}


@pytest.mark.parametrize("gpu", all_gpus(), ids=lambda gpu: gpu.name)
def test_a_gpu_survives_the_way_to_json_and_back(gpu):
    """Every field comes back as it was, of the same type."""
    assert gpu == from_plain(Gpu, json.loads(json.dumps(gpu.to_json())))


def test_a_file_says_its_version():
    """Readers of later versions can tell how old a file is."""
    assert SCHEMA_VERSION == from_plain(Gpu, SMALL).to_json()["schema_version"]


def test_an_older_file_takes_defaults_and_a_newer_one_is_trimmed():
    """Fields that are missing take their defaults; fields that are unknown are left out."""
    gpu = from_plain(Gpu, {**SMALL, "invented_later": 1})
    expected = Gpu(name="Small", capacity_bytes=2**30, context_bytes=2**28, compute_capability=(8, 6))
    assert expected == gpu


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("estimate: by siblings", True),
        ("unconfirmed: often quoted", True),
        ("data sheet", False),
        (None, False),
    ],
)
def test_an_estimate_is_told_from_a_published_figure(source, expected):
    """A source that opens with `estimate:` or `unconfirmed:` marks the figure."""
    sources = {} if source is None else {"capacity_bytes": source}
    assert expected == from_plain(Gpu, {**SMALL, "sources": sources}).is_estimate("capacity_bytes")
