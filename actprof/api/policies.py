"""The policies of lerobot: which are traced, what they need, and how sure predictions of them are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from actprof.cell import Cell
from actprof.ledger.keep import DEFAULT_FOLDER, read_rows
from actprof.ledger.row import ORIGINS, AccuracyRow
from actprof.policies import policy_names, policy_spec
from actprof.policies.libraries import missing_packages
from actprof.policies.untraced import UNTRACED
from actprof.words import cell_command


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """Runs of a policy on one device in the accuracy ledger.

    Attributes:
        origin: `measured` by actprof, or `published` by others.
        gpu: the device.
        runs: how many rows.
        worst_percent: largest difference of allocated memory without sign, beyond the predicted band; None
            where no row has one.
    """

    origin: str
    gpu: str
    runs: int
    worst_percent: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownPolicy:
    """One policy of lerobot.

    Attributes:
        name: lerobot's name.
        title: what people call it; the name where it is not traced.
        traced: whether actprof predicts it.
        reason: why it is not; empty where it is.
        extra: of lerobot that it needs; empty: none.
        missing: packages of that extra that are not installed.
        evidence: what the ledger has of it, measured before published.
        command: predicts a first run of it; empty where nothing does.
    """

    name: str
    title: str
    traced: bool
    reason: str = ""
    extra: str = ""
    missing: tuple[str, ...] = ()
    evidence: tuple[Evidence, ...] = ()
    command: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return a dict of JSON values with one entry per attribute."""
        return {**asdict(self), "missing": list(self.missing), "evidence": list(map(asdict, self.evidence))}


def known_policies(ledger: str | Path = DEFAULT_FOLDER) -> tuple[KnownPolicy, ...]:
    """Return the policies that are traced, then those that are not, each sorted by name.

    What is known of them is read from the accuracy ledger in the folder `ledger`, where there is one; neither
    torch nor lerobot is imported.

    Raises:
        StoreError: the ledger cannot be read.
    """
    rows = read_rows(ledger, missing_ok=True)
    traced = tuple(_traced(name, rows) for name in policy_names())
    return traced + tuple(
        KnownPolicy(name=name, title=name, traced=False, reason=reason)
        for name, reason in sorted(UNTRACED.items())
    )


def _traced(name: str, rows: Sequence[AccuracyRow]) -> KnownPolicy:
    spec = policy_spec(name)
    return KnownPolicy(
        name=name,
        title=spec.title,
        traced=True,
        extra=spec.extra,
        missing=missing_packages(spec.extra) if spec.extra else (),
        evidence=_evidence([row for row in rows if row.cell.policy == name]),
        command=cell_command(Cell(policy=name, **spec.example)),
    )


def _evidence(rows: Sequence[AccuracyRow]) -> tuple[Evidence, ...]:
    places = sorted({(ORIGINS.index(row.origin), row.origin, row.gpu) for row in rows})
    return tuple(_on(rows, origin, gpu) for _place, origin, gpu in places)


def _on(rows: Sequence[AccuracyRow], origin: str, gpu: str) -> Evidence:
    found = [row for row in rows if (row.origin, row.gpu) == (origin, gpu)]
    apart = [p for row in found if (p := row.beyond_band_percent("allocated")) is not None]
    return Evidence(origin=origin, gpu=gpu, runs=len(found), worst_percent=max(apart, default=None))
