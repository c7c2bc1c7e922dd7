"""Changes to a policy or its optimizer that a cell can name: a file each, to be pasted into a script.

A file holds `OFFER`, what there is to say of the change (see `Change`), and one function of the file's name
that changes what it is given. `actprof suggest` prints the function as it stands there, so each stands on its
own; here both are read, not imported, so that nobody who only wants to know imports torch. `set_to_none` is
not among them: lerobot calls `optimizer.zero_grad()`, whose default it is since torch 2.0.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

from actprof.cell import CHANGES
from actprof.errors import UsageError

LOSSLESS = "lossless"


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One change, as it is offered.

    Attributes:
        name: of its file and function, as cells name it.
        title: what is done, in words.
        family: changes of one family stand for each other.
        source: of its function, with its docstring and hints.
        needs: a part or a property among `PolicySpec.parts`, without which it does not fit; of a change of
            the optimizer, an option that this must have; empty: fits all.
        kind: `lossless`, or what it changes; see `actprof.advice.remedies.KINDS`.
        burden: what it takes from the training; see `Offer`.
        halves: whether it takes a batch apart.
        on: whether the policy or the optimizer is given to it.
        note: what else there is to know.
    """

    name: str
    title: str
    family: str
    source: str
    needs: str = ""
    kind: str = LOSSLESS
    burden: float = 1.0
    halves: bool = False
    on: Literal["policy", "optimizer"] = "policy"
    note: str = ""

    def place(self, parts: Mapping[str, str]) -> str | None:
        """Return the path of the module that it changes, empty for the whole; None where it does not fit."""
        return parts.get(self.needs) if self.needs and self.on == "policy" else ""


@cache
def read_change(name: str) -> Change:
    """Return the change of `actprof.cell.CHANGES` called `name`."""
    text = Path(__file__).with_name(f"{name}.py").read_text(encoding="utf-8")
    body = ast.parse(text).body
    offer = next(node.value for node in body if isinstance(node, ast.Assign))
    function = next(node for node in body if isinstance(node, ast.FunctionDef))
    return Change(name=name, source=ast.get_source_segment(text, function) or "", **ast.literal_eval(offer))


def fitting_changes(parts: Mapping[str, str]) -> tuple[Change, ...]:
    """Return the changes that fit a policy with these `PolicySpec.parts`."""
    return tuple(change for change in map(read_change, CHANGES) if change.place(parts) is not None)


def find_change(name: str, parts: Mapping[str, str], policy: str) -> Change:
    """Return the change called `name` for the policy called `policy`, which has `parts`.

    Raises:
        UsageError: the change does not fit the policy; names those that do.
    """
    fitting = {change.name: change for change in fitting_changes(parts)}
    if name not in fitting:
        raise UsageError(f"{name} does not fit {policy}, which can take {', '.join(fitting)}")
    return fitting[name]
