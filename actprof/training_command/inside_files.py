"""A command that stands in another tool's file: a Dockerfile, compose, Kubernetes, a workflow, Python.

What is found is written as a shell's text. Variables that the file sets are exported before it.
"""

from __future__ import annotations

import ast
import json
import re
import shlex
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import yaml

MENTION = re.compile(r"lerobot[-_]train|lerobot\.scripts|scripts[\\/]train\.py")
_JSON = re.compile(r"\s*(?:CMD|ENTRYPOINT|RUN)?\s*(\[.*\])\s*", re.DOTALL)
_DOCKER = re.compile(r"(?m)^[ \t]*(?:CMD|ENTRYPOINT|RUN)\s")
_KEYS = ("entrypoint", "command", "args", "run", "script", "cmd")
_KEY = re.compile(
    r"(?m)(?:^|[{,])[ \t-]*[\"']?(?:entrypoint|command|args|run|script|cmd|program|module)[\"']?[ \t]*:"
)
_PYTHON = re.compile(r"\bsubprocess\.|\bos\.system\(|\bPopen\(|\bcheck_call\(|\brun\(\[")


def command_in_file(text: str) -> str:
    """Return the command of a file's text for a shell; nothing where the text is no such file."""
    readers = (_listed, _of_docker, _of_yaml, _of_python)
    return next(filter(None, (read(text) for read in readers)), "")


def _listed(text: str) -> str:
    """Return the words of a Dockerfile's `CMD ["lerobot-train", …]`, or of such a list alone."""
    match = _JSON.fullmatch(text)
    try:
        words = json.loads(match[1]) if match else []
    except ValueError:
        return ""
    return shlex.join(words) if all(isinstance(word, str) for word in words) else ""


def _of_docker(text: str) -> str:
    """Return what a Dockerfile starts: its entry point, and its command behind that."""
    if not _DOCKER.search(text):
        return ""
    said: dict[str, str] = {}
    exports = []
    for line in re.sub(r"\\\s*\r?\n", " ", text).splitlines():
        name, _, rest = line.strip().partition(" ")
        if name == "ENV":
            first, _, value = rest.partition(" ")
            exports.append(f"export {rest if '=' in first else f'{first}={shlex.quote(value)}'}")
        elif name in ("CMD", "ENTRYPOINT") or (name == "RUN" and MENTION.search(rest)):
            said[name] = _listed(rest) or rest
    run = said.get("RUN", "")
    started = " ".join(filter(None, [said.get("ENTRYPOINT"), said.get("CMD")]))
    return "\n".join([*exports, started if MENTION.search(started) else run or started])


def _of_yaml(text: str) -> str:
    """Return the first command of a YAML or JSON file that trains."""
    if not _KEY.search(text):
        return ""
    try:
        data = yaml.safe_load(textwrap.dedent(text))
    except yaml.YAMLError:
        return ""
    return next((found for found in _commands(data, {}) if MENTION.search(found)), "")


def _commands(data: Any, around: Mapping[str, str]) -> Iterator[str]:
    if isinstance(data, dict):
        seen = {**around, **_variables(data)}
        exports = [f"export {name}={shlex.quote(value)}" for name, value in seen.items()]
        if command := _command(data):
            yield "\n".join([*exports, command])
        for value in data.values():
            yield from _commands(value, seen)
    elif isinstance(data, list):
        for value in data:
            yield from _commands(value, around)


def _command(data: Mapping[str, Any]) -> str:
    parts = [_text(data[key]) for key in _KEYS if isinstance(data.get(key), str | list)]
    if isinstance(module := data.get("module"), str):  # an editor's launch.json
        return " ".join(["python -m", module, *parts])
    if isinstance(program := data.get("program"), str):
        return " ".join(["python", shlex.quote(program), *parts])
    return " ".join(parts)


def _text(value: str | Sequence[Any]) -> str:
    return value if isinstance(value, str) else shlex.join(map(str, value))


def _variables(data: Mapping[str, Any]) -> dict[str, str]:
    found: dict[str, str] = {}
    for value in (data.get(key) for key in ("environment", "env", "envs")):
        if isinstance(value, dict):
            found |= {name: str(text) for name, text in value.items()}
        for entry in value if isinstance(value, list) else ():
            if isinstance(entry, str) and "=" in entry:
                name, _, text = entry.partition("=")
                found[name] = text
            elif isinstance(entry, dict) and "name" in entry:
                found[str(entry["name"])] = str(entry.get("value", ""))
    return {name: text for name, text in found.items() if str(name).isidentifier()}


def _of_python(text: str) -> str:
    """Return what Python starts: the list of words or the text that it hands to a process."""
    if not _PYTHON.search(text):
        return ""
    try:
        nodes = list(ast.walk(ast.parse(text)))
    except (SyntaxError, ValueError):
        return ""
    for node in nodes:
        words = node.elts if isinstance(node, ast.List | ast.Tuple) else [node]
        values = [word.value for word in words if isinstance(word, ast.Constant)]
        told = [value for value in values if isinstance(value, str)]
        if told and len(told) == len(words) and MENTION.search(" ".join(told)):
            return told[0] if len(told) == 1 else shlex.join(told)
    return ""
