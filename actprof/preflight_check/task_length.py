"""How many tokens a dataset's longest task is, for policies whose sequences are as long as the text.

Counted by the policy's own tokenizer where the Hugging Face cache has it; estimated upwards otherwise.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from actprof.policies import policy_spec
from actprof.preflight_check.hub_files import from_hub, hub_cache, snapshots
from actprof.preflight_check.training_run import TrainingRun

# lerobot's datasets from v3 on, and before.
_FILES = (Path("meta") / "tasks.parquet", Path("meta") / "tasks.jsonl")
_WORD = re.compile(r"[^\W\d_]+|\S")
# Tokenizers of the models in use keep most English words whole; so many letters a token is on the safe side.
_LETTERS = 3
# A tokenizer's own marks around a text, and the line break that some policies put behind it.
_MARKS = 3


@dataclass(frozen=True, slots=True)
class TaskLength:
    """Tokens of the longest task (0: as many as the policy reads), and what was assumed, or nothing."""

    tokens: int = 0
    assumed: str = ""


def task_length(run: TrainingRun, info: str, environment: Mapping[str, str]) -> TaskLength:
    """Return how long the tasks of a run are, if that changes anything.

    `info` is the path of its dataset's `meta/info.json`.
    """
    spec = policy_spec(run.policy_type)
    if not spec.reads_task or spec.pads_task or run.pads_task:
        return TaskLength()
    tasks = _tasks(run, Path(info), environment)
    if not tasks:
        return TaskLength()
    counted = _counted(tasks, spec.models, environment)
    if counted:
        return TaskLength(min(counted, run.most_task_tokens or counted))
    most = max(map(_estimated, tasks))
    tokens = min(most, run.most_task_tokens or most)
    text = (
        f"the longest task is taken to be {tokens} tokens, counted by its letters on the safe side: the "
        "policy's tokenizer is not in the Hugging Face cache"
    )
    return TaskLength(tokens, text)


def _tasks(run: TrainingRun, info: Path, environment: Mapping[str, str]) -> list[str]:
    """Return the texts of all tasks of the dataset, none where they cannot be read."""
    for name in _FILES:
        path: Path | None = info.parent.parent / name
        if path is not None and not path.is_file():
            cached = "snapshots" in info.parts  # a file of its own came from the Hub
            path = (
                from_hub(run.repo_id, name.as_posix(), "dataset", run.revision, environment)
                if cached
                else None
            )
        if path is not None:
            return _read(path)
    return []


def _read(path: Path) -> list[str]:
    try:
        if path.suffix == ".jsonl":
            lines = path.read_text(encoding="utf-8").splitlines()
            return [str(json.loads(line)["task"]) for line in lines if line.strip()]
        import pyarrow.parquet  # type: ignore[import-untyped] # it has no types

        table = pyarrow.parquet.read_table(path)
        return [text for column in table.columns for text in column.to_pylist() if isinstance(text, str)]
    except (ImportError, OSError, ValueError, KeyError, TypeError):  # a task's length is no reason to give up
        return []


def _counted(tasks: Iterable[str], repositories: Iterable[str], environment: Mapping[str, str]) -> int:
    """Return the tokens of the longest task by the tokenizer of one of the repositories; 0 without one."""
    folders = (f"models--{repository.replace('/', '--')}" for repository in repositories)
    places = (place for name in folders for place in snapshots(hub_cache(environment), name, None))
    path = next((place / "tokenizer.json" for place in places if (place / "tokenizer.json").is_file()), None)
    if path is None:
        return 0
    try:
        from tokenizers import Tokenizer  # type: ignore[import-untyped] # nor has this

        tokenizer = Tokenizer.from_file(str(path))
    except Exception:  # noqa: BLE001 - not installed, or whatever it raises for a bad file: it is estimated
        return 0
    return max(len(tokenizer.encode(f"{task.rstrip()}\n").ids) for task in tasks)


def _estimated(task: str) -> int:
    """Return about how many tokens a text is at most."""
    words = _WORD.findall(task)
    return _MARKS + sum(-(-len(word) // _LETTERS) if word.isascii() else len(word.encode()) for word in words)
