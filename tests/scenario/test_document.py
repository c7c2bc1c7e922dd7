"""YAML as plain data with line numbers."""

from pathlib import Path

import pytest

from actprof.errors import ScenarioError
from actprof.scenario.document import LARGEST_FILE_BYTES, read_document

CHECK = "check its indentation, brackets and quotes"
SEVERAL = "expected a single document in the stream, but found another document"
CONTROL = "unacceptable character #x0000: special characters are not allowed"
DANGEROUS = "tag:yaml.org,2002:python/name:os.system"


@pytest.fixture
def read(tmp_path, monkeypatch):
    """Return a function that reads a text (or bytes) as `s.yaml`, the key `text` being a text key."""
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "s.yaml"

    def read_text(content):
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
        document = read_document(file.relative_to(tmp_path), is_text=lambda path: path[0] == "text")
        document.raise_first()
        return document

    return read_text


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("8", 8),
        ("-3", -3),
        ("0", 0),
        ("1e-5", 1e-5),
        ("1.5", 1.5),
        (".5", 0.5),
        ("true", True),
        ("on", True),
        ("No", False),
        ("null", None),
        ("~", None),
        ("", None),
        ("640x480", "640x480"),
        ("12:30", "12:30"),
        ("010", 10.0),
        ("1_000", "1_000"),
        ("2024-01-01", "2024-01-01"),
        (".nan", ".nan"),
        (".inf", ".inf"),
        ("1e999", "1e999"),
        ("'8'", "8"),
        ('"on"', "on"),
        ("[1, [a, on]]", [1, ["a", True]]),
        ("{a: {b: 1}}", {"a": {"b": 1}}),
    ],
)
def test_values_follow_yaml_1_2_with_the_booleans_of_1_1(read, written, expected):
    """No sexagesimal, octal, date or infinite number; 1e-5 is a number; quotes make a text."""
    found = read(f"key: {written}\n").data["key"]
    assert (type(expected), expected) == (type(found), found)


@pytest.mark.parametrize("written", ["8.10", "on", "640:480", "3090", "1e5"])
def test_the_values_of_text_keys_stay_as_they_were_written(read, written):
    """GIVEN a key whose values are texts WHEN read THEN nothing is taken for a number or boolean."""
    assert {"text": [written]} == read(f"text: [{written}]\n").data


def test_every_key_and_item_has_its_line(read):
    """Lines count from one; what has none takes its parent's."""
    document = read("# why?\n\na: 1\nb:\n  - 2\n  - c: 3\n")
    assert {(): 3, ("a",): 3, ("b",): 4, ("b", 0): 5, ("b", 1): 6, ("b", 1, "c"): 6} == document.lines
    assert 6 == document.line(("b", 1, "c", "further", 7))
    assert 3 == document.line(("unknown",))


def test_the_opening_comment_is_read_without_hints_for_editors(read):
    """A comment of several lines is one text; comments further down are not part of it."""
    content = "# Which\n# yaml-language-server: $schema=x.json\n#   one?\nkey: 1 # not me\n# nor me\n"
    assert read(content).comment == "Which one?"


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("", "s.yaml:1: the file is empty; write a mapping of keys, like policy: act"),
        ("# only a comment\n", "s.yaml:1: the file is empty; write a mapping of keys, like policy: act"),
        ("- a\n", "s.yaml:1: the file is a list; write a mapping of keys, like policy: act"),
        ("text\n", "s.yaml:1: the file is a single value; write a mapping of keys, like policy: act"),
        (
            "a: 1\nb: [1,\n",
            f"s.yaml:3: not valid YAML: expected the node content, but found '<stream end>'; {CHECK}",
        ),
        (
            "a: 1\n---\nb: 2\n",
            f"s.yaml:2: not valid YAML: {SEVERAL}; {CHECK}",
        ),
        (
            "a: \x00\n",
            f"s.yaml:1: not valid YAML: {CONTROL}; {CHECK}",
        ),
        (b"a: 1\nb: \xff\n", "s.yaml:2: not UTF-8 text; save the file as UTF-8"),
        ("a: 1\nb: 2\na: 3\n", "s.yaml:3: 'a' is given twice (first on line 1); keep one"),
        ("a: {b: 1,\n    b: 2}\n", "s.yaml:2: 'b' is given twice (first on line 1); keep one"),
        ("? [a]\n: 1\n", "s.yaml:1: a key must be a plain name; write name: value"),
        ("a: 1\n<<: {b: 2}\n", "s.yaml:2: '<<' is not supported as a key; write name: value"),
        (
            "a: &x [1]\nb: *x\n",
            "s.yaml:2: an alias of a list or mapping is not supported; write the values out",
        ),
        ("a: &x [*x]\n", "s.yaml:1: an alias of a list or mapping is not supported; write the values out"),
        ("a: !mine 1\n", "s.yaml:1: the tag '!mine' is not supported; write a plain value"),
        (
            "a: !!python/name:os.system x\n",
            f"s.yaml:1: the tag '{DANGEROUS}' is not supported; write a plain value",
        ),
        ("a: " + "[" * 30 + "]" * 30, "s.yaml:1: nested too deeply; a scenario has a few levels"),
        ("a: " + "[" * 3000 + "]" * 3000, "s.yaml:1: nested too deeply; a scenario has a few levels"),
        (
            "#" + "x" * LARGEST_FILE_BYTES,
            "s.yaml:1: larger than 256 KiB; a scenario is a small YAML file",
        ),
    ],
)
def test_what_is_no_plain_mapping_is_refused_with_its_line(read, content, expected):
    """One message, of the first thing in the file that is wrong."""
    with pytest.raises(ScenarioError) as caught:
        read(content)
    assert expected == str(caught.value)


def test_a_file_that_is_not_there_or_a_directory_is_refused(tmp_path, monkeypatch):
    """The path is shown as the user wrote it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    for name, expected in [
        ("none.yaml", "none.yaml:1: no such file; check the path"),
        ("folder", "folder:1: is a directory; name a YAML file in it"),
    ]:
        with pytest.raises(ScenarioError) as caught:
            read_document(Path(name), is_text=lambda _: False)
        assert expected == str(caught.value)


def test_a_byte_order_mark_is_no_part_of_the_first_key(read):
    """Windows editors write one."""
    assert {"a": 1} == read(b"\xef\xbb\xbfa: 1\n").data
