"""The user's own cards, in `gpus.toml` of the configuration folder."""

from __future__ import annotations

import re

import pytest

from actprof.errors import UsageError
from actprof.hardware import all_gpus, builtin_catalogue, find_gpu
from actprof.units import GIB

LAB = """
[[gpu]]
name = "Lab card"
aliases = ["RTX 4090 48 GB"]
capacity = "47.4GiB"
compute_capability = 8.9
"""


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Return a function that writes the user's file and returns its path."""
    monkeypatch.setenv("ACTPROF_CONFIG_DIR", str(tmp_path / "mine"))

    def written(text):
        path = tmp_path / "mine" / "gpus.toml"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path

    return written


def test_every_command_knows_a_card_of_the_users_own(write):
    """By its name and its aliases; what it does not say is an estimate, its source the file."""
    path = write(LAB)
    gpu = find_gpu("rtx 4090 48gb")

    assert ("Lab card", round(47.4 * GIB), (8, 9)) == (gpu.name, gpu.capacity_bytes, gpu.compute_capability)
    assert f"given in {path}" == gpu.sources["capacity_bytes"]
    assert gpu.is_estimate("context_bytes")
    assert {"Lab card"} == builtin_catalogue().own


def test_without_a_file_the_catalogue_is_the_shipped_one(write):
    """And what is shipped never has the user's."""
    assert all_gpus() == builtin_catalogue().gpus
    write(LAB)
    assert len(all_gpus()) + 1 == len(builtin_catalogue().gpus)


def test_a_users_card_comes_before_a_shipped_one(write):
    """GIVEN an alias that a shipped card has too WHEN named THEN the user's is meant."""
    write('[[gpu]]\nname = "Mine"\naliases = ["RTX 3090"]\ncapacity = "23.5GiB"\n')

    assert ("Mine", "RTX 3090") == (find_gpu("3090").name, find_gpu("RTX 3090").name)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[[gpu]\n", " is no TOML: "),
        ('[[gpu]]\ncapacity = "24GiB"\n', ": entry 1 of [[gpu]] has no name; write [[gpu]] with name = "),
        ('[[gpu]]\nname = "A"\n', ": GPU 'A' has no capacity; add one, like capacity: 23.5GiB"),
        ('[[gpu]]\nname = "A"\ncapacity = 24\n', ": GPU 'A', capacity: '24' is too small for a GPU"),
        (
            '[[gpu]]\nname = "A"\ncapacity = "24GiB"\ncores = 3\n',
            ": GPU 'A': unknown field 'cores'; the fields",
        ),
        (
            '[[gpu]]\nname = "A"\ncapacity = "24GiB"\nmultiprocessors = true\n',
            "multiprocessors: 'True' is not a n",
        ),
        (
            '[[gpu]]\nname = "A"\ncapacity = "24GiB"\nmultiprocessors = "x"\n',
            "multiprocessors: 'x' is not a num",
        ),
        ('[[gpu]]\nname = "A"\ncapacity = ["24GiB"]\n', "GPU 'A', capacity: \"['24GiB']\" is not a size"),
        (
            '[[gpu]]\nname = "A"\ncapacity = "24GiB"\naliases = "B"\n',
            "GPU 'A', aliases: 'B' is no list of names",
        ),
        ('[[gpu]]\nname = "A"\ncapacity = "24GiB"\nsources = "me"\n', "GPU 'A', sources: 'me' is no table"),
        (f"{LAB}{LAB}", ": GPU 'Lab card' stands there twice; leave one"),
        ('[gpu]\nname = "A"\n', ": gpu is no list of tables; write [[gpu]]"),
        ('[[card]]\nname = "A"\n', ": 'card' means nothing at the top of the file; write [[gpu]]"),
    ],
)
def test_what_is_wrong_names_file_and_entry(write, text, said):
    """And how it would be right."""
    path = write(text)
    with pytest.raises(UsageError, match=re.escape(said)) as caught:
        builtin_catalogue()
    assert str(caught.value).startswith(str(path))


def test_a_home_is_written_as_people_write_it(tmp_path, monkeypatch):
    """`~/.config/actprof/gpus.toml` rather than the whole path."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    monkeypatch.setenv("ACTPROF_CONFIG_DIR", str(tmp_path / "settings"))

    with pytest.raises(UsageError, match=re.escape("~/settings/gpus.toml can describe it")):
        find_gpu("banana")
