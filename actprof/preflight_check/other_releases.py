"""Flags and fields that another release of lerobot has, and this one has not: named, not guessed at.

What a flag is called here is read off the releases' own config classes: a flag that the other release has
not, of the same type and default and of nearly the same name.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence

from packaging.version import Version

from actprof.policies.lerobot_versions import TESTED, lerobot_version
from actprof.preflight_check.flag_table import FlagTable, flag_table, tables_of
from actprof.versions import UNKNOWN, package_version

# What the config classes cannot say: `_migrate_legacy_rabc_fields` in lerobot/configs/train.py of 0.6.0.
MOVED = {
    "use_rabc": "sample_weighting.type=rabc",
    "rabc_progress_path": "sample_weighting.progress_path",
    "rabc_kappa": "sample_weighting.kappa",
    "rabc_epsilon": "sample_weighting.epsilon",
    "rabc_head_mode": "sample_weighting.head_mode",
}
# Fields of early 2025 (lerobot/configs/train.py before 0.2) that no tested release has -> today's.
EARLY = {"device": "policy.device", "use_amp": "policy.use_amp", "offline": "steps", "online": ""}
_NEAR = 0.6


def left_out(name: str, policy: str) -> str:
    """Return the sentence about a flag that this lerobot has not and another has; else nothing."""
    known = flag_table(policy)
    if known.has(name):
        return ""
    tables = {version: tables_of(version)[policy] for version in TESTED if policy in tables_of(version)}
    having = [version for version, table in tables.items() if table.has(name)]
    here = lerobot_version()
    if not having and name in EARLY:
        called = f"; now --{EARLY[name]}" if EARLY[name] else ""
        return f"lerobot {here} has no {name} (those of early 2025 had it{called})"
    if not having:
        return ""
    nearest = min(having, key=lambda version: abs(_place(version) - _place(here)))
    now = _renamed(name, tables[nearest], known)
    older = all(Version(version) < Version(here) for version in having)
    verb = ("had" if older else "has") if len(having) == 1 or older else "have"
    called = f"; {'now' if older else 'here'} --{now}" if now else ""
    assumed = "" if package_version("lerobot") != UNKNOWN else ", which is assumed,"
    return f"lerobot {here}{assumed} has no --{name} ({_listed(having)} {verb} it{called})"


def _place(version: str) -> int:
    """Return where a version stands among those that were tried."""
    return sum(Version(other) <= Version(version) for other in TESTED)


def _listed(versions: Sequence[str]) -> str:
    return versions[0] if len(versions) == 1 else f"{versions[0]} to {versions[-1]}"


def _renamed(name: str, there: FlagTable, here: FlagTable) -> str:
    """Return what the flag of one table is called in the other; empty where nothing says so."""
    if name in MOVED and here.has(MOVED[name].partition("=")[0]):
        return MOVED[name]
    if name not in there.names():
        return ""
    known = set(there.names())
    new = [other for other in here.names() if other not in known and _alike(name, there, other, here)]
    return next(iter(difflib.get_close_matches(name, new, n=1, cutoff=_NEAR)), "")


def _alike(name: str, there: FlagTable, other: str, here: FlagTable) -> bool:
    return there.types.get(name) == here.types.get(other) and there.default(name) == here.default(other)


def without_others(arguments: Sequence[str], policy: str) -> tuple[list[str], tuple[str, ...]]:
    """Return the arguments without the flags that only another lerobot has, and what is said of each."""
    kept: list[str] = []
    said: list[str] = []
    rest = list(arguments)
    while rest:
        word = rest.pop(0)
        name = word[2:].partition("=")[0] if word.startswith("--") else ""
        sentence = left_out(name, policy) if name else ""
        if not sentence:
            kept.append(word)
            continue
        said.append(sentence)
        if "=" not in word and rest and not rest[0].startswith("--"):
            rest.pop(0)  # its value
    return kept, tuple(said)
