"""From a command as people write it to what lerobot-train is given: wrappers, shells and scripts taken off.

A command is read from its first word on; a wrapper's own options end where something begins that runs
lerobot-train. Nothing is run.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import replace

from actprof.errors import UsageError
from actprof.training_command.command_line import CommandLine, expanded
from actprof.training_command.inside_files import MENTION, command_in_file
from actprof.training_command.old_commands import as_today, flags_of_today, old_script
from actprof.training_command.places import on_this_machine
from actprof.training_command.shell_text import statements_of_text, statements_of_words
from actprof.training_command.shell_values import Values, Word
from actprof.training_command.shell_walk import Shell
from actprof.training_command.wrappers import WRAPPERS, Wrapper

TRAIN_NAMES = {"lerobot-train", "lerobot_train", "lerobot_train.py"}
TRAIN_MODULES = {"lerobot.scripts.lerobot_train", "lerobot.scripts.train"}
_LAUNCHERS = {
    "accelerate": "accelerate", "accelerate-launch": "accelerate", "accelerate.commands.launch": "accelerate",
    "torchrun": "torchrun", "torch.distributed.run": "torchrun", "torch.distributed.launch": "torchrun",
}  # fmt: skip
_PYTHON = re.compile(r"(?:python|pypy|py)(\d(\.\d+)?)?w?")
_SHELLS = {*["ash", "bash", "cmd", "csh", "dash", "fish", "ksh", "powershell", "pwsh", "sh", "tcsh", "zsh"]}
_ASSIGNMENT = re.compile(r"([A-Za-z_]\w*)=(.*)", re.DOTALL)
_TEXT_OPTION = re.compile(r"-[A-Za-z]*c|-(?:Command|command)|/[cCkK]")
_PYTHON_VALUES = {"-X", "-W", "--check-hash-based-pycs"}
_OWN_FLAG = re.compile(r"--(?:policy|dataset|reward_model)\.\w+.*|--config_path.*", re.DOTALL)
_VERBS = {"run", "exec", "start"}  # of docker, uv and the like, which are no programs here
_NAMES = {"--name", "-n", "-t", "-s", "-J", "--job-name", "--hostname", "-L", "--container-name"}
_MOST_SCRIPT_BYTES = 1 << 18
_HINT = "write it as you would run it: lerobot-train --policy.type=act --dataset.repo_id=…"
_PUT = f"put actprof preflight -- right before lerobot-train itself, or {_HINT}"


def unwrap(command: str | Sequence[str]) -> CommandLine:
    """Return the parts of `command`; see `parse_command_line`."""
    words = [command] if isinstance(command, str) else list(command)
    is_text = isinstance(command, str) or (len(words) == 1 and any(map(str.isspace, words[0])))
    if is_text:
        words = [command_in_file(words[0]) or words[0]]
    try:
        statements, mended = statements_of_text(words[0]) if is_text else statements_of_words(words)
        line = _first(statements, Values()) or _flags_alone(statements)
    except UsageError as error:
        raise UsageError(f"the command cannot be taken apart ({error}); {_HINT}") from error
    except RecursionError:
        raise UsageError(f"the command starts itself again and again; {_HINT}") from None
    if line is None:
        raise UsageError(_why_not(statements))
    line = replace(line, mended=tuple(dict.fromkeys((*mended, *line.mended))))
    line = on_this_machine(flags_of_today(as_today(line)))
    text = shlex.join(text for statement in statements for word in statement for text in _written(word))
    return replace(line, text=text)


def _flags_alone(statements: Sequence[Sequence[Word]]) -> CommandLine | None:
    """Return the command of which only the flags were given."""
    words = [_written(word)[0] for word in statements[0]] if statements else []
    return _program(["lerobot-train", *words]) if words and _OWN_FLAG.fullmatch(words[0]) else None


def _written(word: Word) -> list[str]:
    return ["".join(piece.text for piece in word)]


def _first(statements: Sequence[Sequence[Word]], values: Values) -> CommandLine | None:
    """Return the first statement that trains, as those before it leave it."""
    shell = Shell(values)
    found: list[CommandLine] = []
    for statement in statements:
        words = shell.words(statement)
        if not found and words:
            before = len(values.unset)
            line = _unwrap(words)
            if line is not None:
                found.append(shell.around(line, unset=values.unset[before:]))
        elif words and _unwrap(words) is not None:
            found.append(found[0])
    if not found:
        return None
    more = f"the text trains {len(found)} times; this is the first" if len(found) > 1 else ""
    return replace(found[0], notes=(*found[0].notes, *filter(None, [more])))


def _unwrap(words: Sequence[str]) -> CommandLine | None:
    """Return what the words of one statement run, None where that is not lerobot-train."""
    readers = (_assigned, _program, _launched, _python, _shell, _wrapped, _script)
    return next(filter(None, (read(words) for read in readers)), None) if words else None


def _assigned(words: Sequence[str]) -> CommandLine | None:
    match = _ASSIGNMENT.fullmatch(words[0])
    inner = _unwrap(words[1:]) if match else None
    return inner.under({match[1]: match[2]}) if match and inner else None


def _name(word: str) -> str:
    """Return the name of a program without its folder and Windows' ending."""
    return re.split(r"[\\/]", word)[-1].removesuffix(".exe").removesuffix(".EXE")


def _is_program(words: Sequence[str]) -> bool:
    return _name(words[0]) in TRAIN_NAMES or words[0] in TRAIN_MODULES or bool(old_script(words))


def _program(words: Sequence[str]) -> CommandLine | None:
    if not _is_program(words):
        return None
    notes = tuple(filter(None, [old_script(words)]))
    return CommandLine(text="", arguments=tuple(words[1:]), notes=notes)


def _launched(words: Sequence[str]) -> CommandLine | None:
    launcher = _LAUNCHERS.get(_name(words[0]), "")
    for position in range(1, len(words)) if launcher else ():
        if line := _program(words[position:]):
            return replace(line, launcher=launcher, launcher_options=tuple(words[1:position]))
    return None


def _python(words: Sequence[str]) -> CommandLine | None:
    """Return what Python runs: a module, or a script."""
    if not _PYTHON.fullmatch(_name(words[0])) and words[0] != "-m":
        return None
    position = 0 if words[0] == "-m" else 1
    while position < len(words) and words[position].startswith("-") and words[position] != "-m":
        if words[position] == "-c" and MENTION.search(" ".join(words[position + 1 : position + 2])):
            return CommandLine(text="", arguments=tuple(words[position + 2 :]))  # it calls lerobot's main
        position += 2 if words[position] in _PYTHON_VALUES else 1
    return _unwrap(words[position + (list(words[position : position + 1]) == ["-m"]) :])


def _shell(words: Sequence[str]) -> CommandLine | None:
    """Return what a shell's text runs: `bash -c 'TEXT'`, `powershell -Command TEXT`."""
    if words[0] == "eval":
        words = ["sh", "-c", " ".join(words[1:])]
    texts = [place for place, word in enumerate(words) if place and _TEXT_OPTION.fullmatch(word)]
    if _name(words[0]) not in _SHELLS or not texts or texts[0] + 1 >= len(words):
        return None
    text, *more = words[texts[0] + 1 :]
    if not more or any(map(str.isspace, text)):
        statements, mended = statements_of_text(text)
        line = _first(statements, Values(own={str(i): given for i, given in enumerate(more)}))
        return None if line is None else replace(line, mended=(*mended, *line.mended))
    line = _unwrap(words[texts[0] + 1 :])
    if line is None or _name(words[0]) in ("cmd", "powershell", "pwsh"):
        return line
    said = (
        f"{words[0]} {words[texts[0]]} takes one text, and drops what follows it: put the command in quotes"
    )
    return replace(line, mended=(*line.mended, said))


def _wrapped(words: Sequence[str]) -> CommandLine | None:
    """Return what a wrapper starts: from the first word on that runs lerobot-train."""
    if _name(words[0]) not in WRAPPERS:
        return None
    unlikely: tuple[int, CommandLine] | None = None
    for position, line in _candidates(words):
        if not line.arguments or re.match(r"-|[\w.+]+=", line.arguments[0]):
            return Wrapper(_name(words[0]), words[1:position]).around(line)
        unlikely = unlikely or (position, line)
    if unlikely is None:
        return None
    position, line = unlikely  # docker run --entrypoint lerobot-train IMAGE --policy.type=act
    begin = next((i for i, word in enumerate(line.arguments) if _OWN_FLAG.fullmatch(word)), 0)
    wrapper = Wrapper(_name(words[0]), (*words[1:position], *line.arguments[:begin]))
    return wrapper.around(replace(line, arguments=line.arguments[begin:]))


def _candidates(words: Sequence[str]) -> Iterator[tuple[int, CommandLine]]:
    for position in range(1, len(words)):
        word = words[position]
        if word in _VERBS or words[position - 1] in _NAMES:
            continue
        if word == "uv" and words[position - 1] == "jobs":
            continue  # of `hf jobs uv run`: no program, and its options are the job's
        if any(map(str.isspace, word)) and MENTION.search(word):
            text = word.partition("=")[2] if re.match(r"--?[\w-]+=", word) else word
            statements, mended = statements_of_text(text)
            line = _first(statements, Values())
            line = line and replace(line, mended=(*mended, *line.mended))
        else:
            line = _unwrap(words[position:])
        if line is not None:
            yield position, line


def _script(words: Sequence[str]) -> CommandLine | None:
    """Return what a shell script here runs: `bash train.sh`, `./train.sh 8`, `sbatch train.sh`."""
    place = next(
        (i for i, word in enumerate(words) if not word.startswith("-") and _is_text_file(word)), None
    )
    if place is None or (
        place and _name(words[0]) not in {*_SHELLS, "sbatch", "source", ".", "qsub", "bsub"}
    ):
        return None
    text = expanded(words[place]).read_text(encoding="utf-8", errors="replace")
    own = {str(i): given for i, given in enumerate(words[place:])}
    statements, mended = statements_of_text(text.replace('"$@"', shlex.join(words[place + 1 :])))
    line = _first(statements, Values(own=own))
    return None if line is None else replace(
        line, notes=(*line.notes, f"read from {words[place]}"), mended=(*mended, *line.mended)
    )  # fmt: skip


def _is_text_file(word: str) -> bool:
    path = expanded(word)
    try:
        if path.suffix in (".py", ".exe") or not path.is_file() or path.stat().st_size > _MOST_SCRIPT_BYTES:
            return False
        return bool(MENTION.search(path.read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return False


def _why_not(statements: Sequence[Sequence[Word]]) -> str:
    """Return why no statement trains, and what to put in front of what."""
    texts = [[_written(word)[0] for word in statement] for statement in statements]
    if not texts:
        return f"there is no command; {_HINT}"
    words = next((words for words in texts if MENTION.search(" ".join(words))), texts[0])
    if words[0].startswith("-"):
        return f"the command begins with {words[0]!r}; {_HINT}"
    scripts = [word for word in words if word.endswith((".sh", ".bash", ".sbatch", ".slurm", ".bat", ".ps1"))]
    if scripts:
        return (
            f"{scripts[0]} is not on this machine, or runs no lerobot-train that can be read in it; "
            f"put actprof preflight -- before the lerobot-train that stands in it ({_HINT})"
        )
    at = next((i for i, word in enumerate(words) if _is_program(words[i:])), None)
    if at:
        return f"{words[0]!r} before lerobot-train is not known; {_PUT}"
    python = next((word for word in words if word.endswith(".py")), "")
    if python:
        return (
            f"{python} is not lerobot's training script; if it takes the same flags, put lerobot-train in "
            f"its place ({_HINT})"
        )
    return f"{shlex.join(words[:4])!r} does not run lerobot-train; {_HINT}"
