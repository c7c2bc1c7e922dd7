"""Values of flags that are not what their author meant: empty, not filled in by a shell, no repository."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from actprof.preflight_check.trap import Trap
from actprof.training_command.command_line import CommandLine, expanded

_FLAG = re.compile(r"--([A-Za-z_][\w.]*)(?:=(.*))?", re.DOTALL)
_LITERAL = re.compile(r"\$env:\w+|\$\{?[A-Za-z_]\w*[^}/]*\}?|\$\(.*?\)|%\w+%|\{[A-Za-z_]\w*\}|<[^<>]+>")
_REPOSITORIES = ("dataset.repo_id", "policy.repo_id")
_FOLDERS = ("dataset.root", "policy.path", "policy.pretrained_path", "config_path", "output_dir")
_MAY_BE_EMPTY = re.compile(r"job_name|.*\.(?:tags|notes|entity|license)|rename_map")
_JSON = re.compile(r"\s*(?:\[|\{(?:\}|[^}]*[:\"]))")


def flag_values(arguments: Sequence[str]) -> dict[str, str]:
    """Return flag -> its text, for `--flag=text` and `--flag text`; the last one counts."""
    found = {}
    for word, following in zip(arguments, [*arguments[1:], "--"], strict=False):
        if match := _FLAG.fullmatch(word):
            value = match[2]
            if value is None:
                value = "true" if following.startswith("--") else following
            found[match[1]] = value
    return found


def last_of_each(arguments: Sequence[str]) -> list[str]:
    """Return the arguments without those flags that stand again further on: argparse takes the last."""
    groups: list[list[str]] = []
    for word in arguments:
        if _FLAG.fullmatch(word) or not groups:
            groups.append([word])
        else:
            groups[-1].append(word)
    last = {_flag_name(group): group for group in groups}
    return [word for group in groups if last[_flag_name(group)] is group for word in group]


def _flag_name(group: Sequence[str]) -> str:
    match = _FLAG.fullmatch(group[0])
    return match[1] if match else group[0]


def value_traps(command: CommandLine) -> Iterator[Trap]:
    """Yield what is wrong with the values of a command, and with the way it is written."""
    for text in command.mended:
        ends = "" if "\n" in text else "."  # a command of its own stands on the last line
        yield Trap("not_as_a_shell_reads_it", f"{text}{ends}", stops=True)
    flags = flag_values(command.arguments)
    yield from _of_empty([name for name, value in flags.items() if not value], command)
    for name, value in flags.items():
        yield from _of_value(name, value)
    yield from _of_repositories(flags, command)
    yield from _of_tildes(flags)
    names = [match[1] for word in command.arguments if (match := _FLAG.fullmatch(word))]
    for name in sorted(name for name in set(names) if names.count(name) > 1):
        yield Trap("given_twice", f"--{name} stands there {names.count(name)} times; the last one counts.")


def _of_empty(names: Sequence[str], command: CommandLine) -> Iterator[Trap]:
    matter = [name for name in names if not _MAY_BE_EMPTY.fullmatch(name)]
    if matter:
        flags = ", ".join(f"--{name}=" for name in matter)
        yield Trap(
            "empty_value",
            f"{flags} {'is' if len(matter) == 1 else 'are'} empty: {_whose_variable(command)}. Set it, or "
            "write the value.",
            stops=any(_matters(name) and name != "policy.repo_id" for name in matter),
        )


def _matters(name: str) -> bool:
    return name in (*_REPOSITORIES, *_FOLDERS, "policy.type")


def _of_value(name: str, value: str) -> Iterator[Trap]:
    if (match := _LITERAL.search(value)) and not _JSON.match(value):
        yield Trap(
            "unfilled_variable",
            f"--{name}={value} holds {match[0]} as it stands: {_why_literal(match[0])}.",
            stops=_matters(name) and name != "output_dir",
        )


def _whose_variable(command: CommandLine) -> str:
    names = list(dict.fromkeys(command.unset))
    if len(names) == 1:
        return f"the variable {names[0]} was empty (nothing sets it here)"
    if names:
        return f"among the variables {', '.join(names)} (nothing sets them here)"
    return "the variable that was to give it was empty"


def _why_literal(text: str) -> str:
    if text.startswith("<"):
        return "a placeholder; put your own in its place"
    if text.startswith("$("):
        return "a command that nobody ran; set what it gives"
    if text.startswith("%"):
        return "only cmd fills it in; in bash write ${NAME}, in PowerShell $env:NAME"
    if text.startswith("$env:"):
        return "only PowerShell fills it in; in bash write ${NAME}"
    if text.startswith("{"):
        return "nothing filled it in; write the value"
    return "no shell filled it in; take it out of single quotes, or write the value"


def _of_repositories(flags: Mapping[str, str], command: CommandLine) -> Iterator[Trap]:
    for name in _REPOSITORIES:
        value = flags.get(name, "")
        if not value or (_LITERAL.search(value) and not value.startswith("[")):
            continue
        # With a folder a dataset's name is only a name; a policy is pushed when all is done.
        stops = name == "dataset.repo_id" and not expanded(flags.get("dataset.root") or "/-").is_dir()
        if value.startswith("["):
            yield Trap(
                "several_datasets",
                f"--{name}={value} names several, and lerobot-train takes one; put them together with "
                "lerobot-edit-dataset --operation.type=merge.",
                stops=True,
            )
        elif re.fullmatch(r"/[^/]+|[^/]+/", value):
            side = "before" if value.startswith("/") else "behind"
            yield Trap(
                "empty_variable",
                f"--{name}={value} has nothing {side} the slash: {_whose_variable(command)}. Set it, or "
                "write the name, like me/so101_pick_place.",
                stops=stops,
            )
        elif value.startswith(("/", "~", ".")) or value.count("/") > 1 or "\\" in value:
            instead = "--dataset.root=" if name == "dataset.repo_id" else "--output_dir="
            yield Trap(
                "repository_is_a_path",
                f"--{name}={value} is a path, and lerobot takes a name like me/so101_pick_place there; a "
                f"folder is named with {instead}{value}.",
                stops=stops,
            )


def _of_tildes(flags: Mapping[str, str]) -> Iterator[Trap]:
    for name in _FOLDERS:
        if flags.get(name, "").startswith("~"):
            yield Trap(
                "tilde",
                f"--{name}={flags[name]}: bash leaves ~ behind = as it is, and lerobot looks for a folder of "
                "that name; write $HOME.",
            )
