"""A scenario file to a `Scenario`; whatever is wrong becomes one `ScenarioError` with file and line.

Of several problems the first in the file is told. A problem with the form of a value hides those that only
the whole grid shows (a value given twice, an exclusion of nothing).
"""

from __future__ import annotations

import os
import re
from dataclasses import replace
from pathlib import Path as FilePath

from pydantic import ValidationError

from actprof.hardware.catalogue import Catalogue, builtin_catalogue
from actprof.hardware.entries import COUNTS
from actprof.scenario.claims_section import read_expectations
from actprof.scenario.document import Document, Path, read_document
from actprof.scenario.fields import TEXT_KEYS
from actprof.scenario.grid import Scenario, build_scenario
from actprof.scenario.grid_cells import POLICIES, GridError
from actprof.scenario.messages import problem_text
from actprof.scenario.schema import CellFields, ScenarioFile


def load_scenario(path: str | os.PathLike[str]) -> Scenario:
    """Return the scenario of a YAML file; see `actprof.load_scenario`."""
    file = FilePath(path)
    document = read_document(file, is_text=_is_text)
    document.raise_first()
    catalogue = _read_gpus(document)
    model = _validate(document, catalogue)
    scenario = _expand(document, model, catalogue)
    expectations = read_expectations(document, model, scenario)
    document.raise_first()
    return replace(
        scenario,
        name=model.name or re.sub(r"[^A-Za-z0-9._-]+", "-", file.stem).strip("-.") or "scenario",
        question=model.question or document.comment,
        path=file,
        cpu_check=model.cpu_check,
        lines=document.lines,
        expectations=expectations,
    )


def _is_text(path: Path) -> bool:
    """Tell whether the scalar at `path` is a text, whatever it looks like."""
    match path:
        case ("gpus", _, key, *_):
            return key not in COUNTS
        case ("expect", _, "where" | "at", key, *_) | ("expect", _, _, "ratio_to", key, *_):
            return key in TEXT_KEYS
        case ("policies", _, key, *_):
            return key in TEXT_KEYS
        case ("expect", _, _, *_):
            return True  # figures are read as they are written: `6.0` is more precise than `6`
        case ("sweep", key, *_) | ("exclude", _, key, *_) | (key, *_):
            return key in TEXT_KEYS
    return False


def _read_gpus(document: Document) -> Catalogue:
    """Return the catalogue with the file's own GPUs; their problems come first, as `gpu:` leans on them."""
    if "gpus" not in document.data:
        return builtin_catalogue()
    only_gpus = replace(document, data={"gpus": document.data["gpus"]})
    gpus = _validate(only_gpus, builtin_catalogue()).gpus
    entries = {name: entry.model_dump(exclude_unset=True) for name, entry in gpus.items()}
    return builtin_catalogue().with_entries(entries, origin=f"given in {document.file.name}")


def _validate(document: Document, catalogue: Catalogue) -> ScenarioFile:
    try:
        return ScenarioFile.model_validate(document.data, context={"catalogue": catalogue})
    except ValidationError as error:
        for detail in error.errors():
            document.problem(detail["loc"], problem_text(detail))
        document.raise_first()
        raise


def _expand(document: Document, model: ScenarioFile, catalogue: Catalogue) -> Scenario:
    if document.data.get("sweep") == {}:
        document.problem(("sweep",), "sweep has no axes; add one, like batch_size: [8, 16], or remove it")
    given = model.values(key for key in document.data if key in CellFields.model_fields)
    if model.policies:
        given[POLICIES] = model.of_policies(document.data)
    axes = model.sweep.values(document.data["sweep"]) if "sweep" in document.data else {}
    try:
        return build_scenario(given, axes, model.exclusions(document.data), catalogue=catalogue)
    except GridError as error:
        document.problem(error.path, str(error))
        document.raise_first()
        raise
