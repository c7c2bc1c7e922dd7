"""A YAML file as plain data that remembers the line of every key and value.

Knows nothing of scenarios. Only scalars, lists and mappings with text keys come out; aliases of lists and
mappings, merge keys, tags and duplicated keys are problems, not data. Numbers follow YAML 1.2 (`1e-5` is a
number, `12:30` and `010` are not sexagesimal or octal); `yes`, `no`, `on`, `off` are booleans as in YAML 1.1.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path as FilePath
from typing import Any, TypeAlias

import yaml

from actprof.errors import ScenarioError

Path: TypeAlias = tuple[str | int, ...]

# A scenario file is written by hand; anything above this is another file by mistake.
LARGEST_FILE_BYTES = 256 * 1024
DEEPEST_NESTING = 20
_YAML_HINT = "check its indentation, brackets and quotes"

# What the safe loader makes of a scalar without a tag.
_PLAIN_TAGS = {"str", "int", "float", "bool", "null", "timestamp", "merge", "value"}
_NULL = re.compile(r"~|null|Null|NULL|")
_TRUE = re.compile(r"true|True|TRUE|yes|Yes|YES|on|On|ON")
_FALSE = re.compile(r"false|False|FALSE|no|No|NO|off|Off|OFF")
_INT = re.compile(r"[-+]?(?:0|[1-9][0-9]{0,17})")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")


@dataclass(slots=True)
class Document:
    """Plain data and where it stands.

    Attributes:
        file: the file as the user named it.
        is_text: tells for the path of a scalar whether it stays the text that was written (`8.10`, `on`).
        data: mappings, lists, texts, numbers, booleans and None.
        lines: path of keys and indices to the line of that key or item (the first line is 1).
        comment: the file's opening comment as one text, without hints for editors.
        problems: what is wrong, each with its line.
    """

    file: FilePath
    is_text: Callable[[Path], bool]
    data: Any = None
    lines: dict[Path, int] = field(default_factory=dict)
    comment: str = ""
    problems: list[tuple[int, str]] = field(default_factory=list)

    def line(self, path: Path) -> int:
        """Return the line of `path`, or of its nearest ancestor that has one."""
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path, 1)

    def problem(self, path: Path, text: str) -> None:
        """Note that something is wrong at `path`."""
        self.problems.append((self.line(path), text))

    def raise_first(self) -> None:
        """Raise the problem that comes first in the file, if any.

        Raises:
            ScenarioError: `file:line: what; what instead`.
        """
        if self.problems:
            # Two problems on one line: the one that was found first.
            line, text = min(self.problems, key=lambda problem: problem[0])
            raise ScenarioError(f"{self.file}:{line}: {text}")


def read_document(file: FilePath, *, is_text: Callable[[Path], bool]) -> Document:
    """Read a YAML mapping; see `Document` for the arguments.

    Raises:
        ScenarioError: the file cannot be read, is no YAML, or is no mapping.
    """
    text = _read_text(file)
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = mark.line + 1 if mark is not None else 1
        said = error.problem or ""
        if said.startswith("but "):
            said = f"{error.context}, {said}"
        raise ScenarioError(f"{file}:{where}: not valid YAML: {said}; {_YAML_HINT}") from error
    except yaml.YAMLError as error:
        said = str(error).splitlines()[0]
        raise ScenarioError(f"{file}:1: not valid YAML: {said}; {_YAML_HINT}") from error
    except RecursionError as error:
        raise ScenarioError(f"{file}:1: nested too deeply; a scenario has a few levels") from error
    document = Document(file, is_text, comment=_opening_comment(text))
    if not isinstance(node, yaml.MappingNode):
        found = {type(None): "empty", yaml.SequenceNode: "a list"}.get(type(node), "a single value")
        raise ScenarioError(f"{file}:1: the file is {found}; write a mapping of keys, like policy: act")
    document.data = _build(document, node, (), set())
    return document


def _read_text(file: FilePath) -> str:
    try:
        if file.is_dir():
            raise ScenarioError(f"{file}:1: is a directory; name a YAML file in it")
        if file.stat().st_size > LARGEST_FILE_BYTES:
            raise ScenarioError(f"{file}:1: larger than 256 KiB; a scenario is a small YAML file")
        data = file.read_bytes()
    except FileNotFoundError:
        raise ScenarioError(f"{file}:1: no such file; check the path") from None
    except OSError as error:
        raise ScenarioError(f"{file}:1: cannot be read ({error.strerror}); check the path") from error
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ScenarioError(f"{file}:{line}: not UTF-8 text; save the file as UTF-8") from error


def _opening_comment(text: str) -> str:
    """Return the comment before the first key as one text; editors' `key: $schema=` hints are left out."""
    said = []
    for line in text.splitlines():
        if not line.startswith("#"):
            break
        if not line.startswith("# yaml-language-server:"):
            said.append(line.lstrip("#").strip())
    return " ".join(part for part in said if part)


def _build(document: Document, node: yaml.Node, path: Path, seen: set[int]) -> Any:
    """Return the data of a composed node, noting lines and problems; `seen` are the nodes met before."""
    document.lines.setdefault(path, node.start_mark.line + 1)
    if isinstance(node, yaml.ScalarNode):
        return _scalar(document, node, path)
    # What would make a small file large, or endless: anchors used again, deep nesting.
    if id(node) in seen:
        document.problem(path, "an alias of a list or mapping is not supported; write the values out")
        return None
    seen.add(id(node))
    if len(path) > DEEPEST_NESTING:
        document.problem(path, "nested too deeply; a scenario has a few levels")
        return None
    if isinstance(node, yaml.SequenceNode):
        return [_build(document, item, (*path, index), seen) for index, item in enumerate(node.value)]
    result: dict[str, Any] = {}
    for key_node, value_node in node.value:
        line = key_node.start_mark.line + 1
        key = key_node.value if isinstance(key_node, yaml.ScalarNode) else None
        if not isinstance(key, str) or key == "<<":
            text = f"{key!r} is not supported as a key" if key else "a key must be a plain name"
            document.problems.append((line, f"{text}; write name: value"))
        elif key in result:
            first = document.lines[(*path, key)]
            document.problems.append((line, f"{key!r} is given twice (first on line {first}); keep one"))
        else:
            document.lines[(*path, key)] = line
            result[key] = _build(document, value_node, (*path, key), seen)
    return result


def _scalar(document: Document, node: yaml.ScalarNode, path: Path) -> Any:
    text: str = node.value
    if node.style in ("'", '"', "|", ">"):
        return text
    if node.tag.removeprefix("tag:yaml.org,2002:") not in _PLAIN_TAGS:
        document.problem(path, f"the tag {node.tag!r} is not supported; write a plain value")
        return None
    if _NULL.fullmatch(text):
        return None
    return text if document.is_text(path) else _plain_value(text)


def _plain_value(text: str) -> Any:
    """Return the boolean, number or text that an unquoted scalar stands for."""
    if _TRUE.fullmatch(text):
        return True
    if _FALSE.fullmatch(text):
        return False
    if _INT.fullmatch(text):
        return int(text)
    if _FLOAT.fullmatch(text) and math.isfinite(float(text)):
        return float(text)
    return text
