"""The form of a scenario file, as pydantic models, and its JSON Schema for editors.

What a cell is made of stands in `actprof.cell`; the models of the file's top and of its sections are made of
it, so whatever can be fixed can be swept and excluded.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    create_model,
)
from pydantic_core import PydanticCustomError

from actprof.cell import CELL_FIELDS
from actprof.claims.quantities import PARTED, PLAIN
from actprof.scenario import fields as f

# Stands for "left out": only the keys that a file has are read from a model.
_LEFT_OUT: Any = None
SET_PREFIX = "set."
_SET_FIELD = re.compile(r"set\.[A-Za-z_]\w*")


def _as_list(value: Any) -> Any:
    return value if isinstance(value, list) else [value]


def _set_field(key: str) -> str:
    """Refuse a key of a section that is neither a cell's field nor `set.FIELD`."""
    if not _SET_FIELD.fullmatch(key):
        raise PydanticCustomError("extra_forbidden", "unknown key")
    return key


_SetField = Annotated[str, AfterValidator(_set_field)]
_Several = BeforeValidator(_as_list)


class _Strict(BaseModel):
    """Unknown keys are errors, and no value is bent into another type."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    def values(self, keys: Iterable[str]) -> dict[str, Any]:
        """Return what a file says of `keys`, in their order."""
        given = self.model_dump(exclude_unset=True)
        return {key: given[key] for key in keys}


class _SweepBase(_Strict):
    """Axes: each key a field of a run, or `set.FIELD`, with the list of its values."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[_SetField, Annotated[list[Any], Field(min_length=1)]]


class _ExclusionBase(_Strict):
    """A combination to leave out: axes and the value (or values) at which they are left out."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[_SetField, Annotated[list[Any], _Several]]


class _SelectionBase(_ExclusionBase):
    """The runs of the grid in which something is expected: axes and their value (or values) there."""


class _CellChangeBase(_Strict):
    """Fields of a run, each with its value, instead of those of the grid's first run."""


class _PolicyFieldsBase(_Strict):
    """Fields of a run that the runs of one policy alone have."""


def _model(
    name: str,
    base: type[BaseModel],
    wrap: Callable[[Any], Any],
    *,
    defaults: bool = False,
    without: tuple[str, ...] = (),
) -> Any:
    """Return a model with the fields of a cell, of the types that `wrap` makes of those of their values."""
    described = [(part.key, f.type_of(part), part.default, part.about) for part in CELL_FIELDS]
    after = next(i for i, part in enumerate(CELL_FIELDS, 1) if part.kind == "alloc_conf")
    described.insert(after, ("expandable_segments", bool, False, "short for that alloc_conf"))
    definitions: dict[str, Any] = {
        key: (wrap(item), Field(default if defaults else _LEFT_OUT, description=about))
        for key, item, default, about in described
        if key not in without
    }
    return create_model(name, __base__=base, **definitions)


if TYPE_CHECKING:
    CellFields = _Strict
    Sweep: TypeAlias = _SweepBase
    Exclusion: TypeAlias = _ExclusionBase
    Selection: TypeAlias = _SelectionBase
    CellChange = _CellChangeBase
    PolicyFields = _CellChangeBase
else:
    CellFields = _model("CellFields", _Strict, lambda item: item, defaults=True)
    Sweep = _model("Sweep", _SweepBase, lambda item: Annotated[list[item], Field(min_length=1)])
    Exclusion = _model("Exclusion", _ExclusionBase, lambda item: Annotated[list[item], _Several])
    Selection = _model("Selection", _SelectionBase, lambda item: Annotated[list[item], _Several])
    CellChange = _model("CellChange", _CellChangeBase, lambda item: item)
    PolicyFields = _model("PolicyFields", _PolicyFieldsBase, lambda item: item, without=("policy",))


class ExpectEntry(_Strict):
    """Quantities and what each should be (`encoder_tokens: 602`), who says so, and in which runs."""

    # Further keys are quantities; `claims_section` reads them.
    model_config = ConfigDict(extra="allow")

    claim: str = Field("", description="the words of who says so")
    source: str = Field("", description="where they say it")
    where: Selection = Field(_LEFT_OUT, description="the runs of the grid that it is about; all if left out")
    at: CellChange = Field(
        _LEFT_OUT, description="one run of its own: the grid's first, with these fields instead"
    )


class GpuEntry(_Strict):
    """A GPU of one's own; what is left out is taken with caution, and speeds are then unknown."""

    capacity: f.CapacityText = Field(description="torch.cuda.get_device_properties(0).total_memory")
    context: f.ContextText = Field("680MiB", description="what a process takes beyond its PyTorch segments")
    compute_capability: f.CapabilityText = Field("8.6", description="MAJOR.MINOR")
    bandwidth: f.BandwidthText = Field(_LEFT_OUT, description="peak of the device memory")
    fp32: f.FlopsText = Field(_LEFT_OUT, description="peak of the ordinary cores")
    tf32: f.FlopsText = Field(_LEFT_OUT, description="dense tensor-core peak")
    bf16: f.FlopsText = Field(_LEFT_OUT, description="dense tensor-core peak")
    fp16: f.FlopsText = Field(_LEFT_OUT, description="dense tensor-core peak")
    multiprocessors: f.Count = Field(_LEFT_OUT, description="streaming multiprocessors")
    threads_per_multiprocessor: f.Count = Field(_LEFT_OUT, description="that one of them holds at once")
    shared_memory: f.SizeText = Field(_LEFT_OUT, description="that one block can have, opted in")
    l2_cache: f.SizeText = Field(_LEFT_OUT, description="size of the level-2 cache")
    clock: f.ClockText = Field(_LEFT_OUT, description="highest of the multiprocessors")
    memory_clock: f.ClockText = Field(_LEFT_OUT, description="highest of the memory")
    power: f.PowerText = Field(_LEFT_OUT, description="highest of the board")
    aliases: list[str] = Field([], description="other names")


class ScenarioFile(CellFields):
    """A scenario: fixed fields at the top, axes under `sweep:`, what to leave out under `exclude:`."""

    name: f.ScenarioName = Field("", description="names the folder of the results; else the file's name")
    question: str = Field("", description="what the scenario asks; the opening comment if left out")
    cpu_check: bool = Field(
        default=True, description="whether a sweep also runs the policy on the CPU, and compares"
    )
    gpus: dict[str, GpuEntry] = Field({}, description="GPUs of one's own, by name")
    policies: dict[f.PolicyName, PolicyFields] = Field(
        {}, description="fields that the runs of one policy alone have, by its name"
    )
    sweep: Sweep = Field(_LEFT_OUT, description="axes: each a list of values; the grid is their product")
    exclude: list[Exclusion] = Field([], description="combinations of axis values to leave out")
    expect: list[ExpectEntry] = Field([], description="claims to check, a memory budget to keep")

    def of_policies(self, data: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
        """Return the fields of one policy only, of each those that stand in the file's own `data`."""
        return {name: part.values(data["policies"][name]) for name, part in self.policies.items()}

    def exclusions(self, data: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Return what is excluded, of each combination the keys that stand in the file's own `data`."""
        return [rule.values(keys) for rule, keys in zip(self.exclude, data.get("exclude", []), strict=True)]


def scenario_json_schema() -> dict[str, Any]:
    """Return the JSON Schema of a scenario file; the package ships the same as `scenario.schema.json`."""
    schema = ScenarioFile.model_json_schema()
    definitions = schema["$defs"]
    single = definitions["Sweep"]["properties"]["set"]["items"]
    for axis in definitions["Sweep"]["properties"].values():
        axis["uniqueItems"] = True
    _only_config_fields(definitions["Sweep"], {"type": "array", "minItems": 1, "uniqueItems": True})
    definitions["Sweep"]["minProperties"] = 1
    for section in ("Exclusion", "Selection"):
        for name, rule in definitions[section]["properties"].items():
            one = single if name == "set" else rule["items"]
            definitions[section]["properties"][name] = {
                "description": rule["description"],
                "anyOf": [one, {"type": "array", "items": rule["items"]}],
            }
        _only_config_fields(definitions[section], {})
    _describe_quantities(definitions["ExpectEntry"])
    for model in (schema, *definitions.values()):
        for described in model["properties"].values():
            if described.get("default", ...) is None:
                del described["default"]
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": "actprof scenario"}


def _only_config_fields(definition: dict[str, Any], values: dict[str, Any]) -> None:
    """Let `definition` have further keys only of the form `set.FIELD`."""
    definition["additionalProperties"] = False
    definition["patternProperties"] = {r"^set\.[A-Za-z_]\w*$": values}


def _describe_quantities(definition: dict[str, Any]) -> None:
    """Let an entry of `expect:` have the quantities as further keys."""
    for name, quantity in PLAIN.items():
        definition["properties"][name] = {"description": quantity.about, **_expected_value(quantity.words)}
    definition["patternProperties"] = {
        rf"^{first}\..+$": {"description": about, **_expected_value(())}
        for first, (_kind, about) in PARTED.items()
    }
    definition["additionalProperties"] = False


def _expected_value(words: tuple[str, ...]) -> dict[str, Any]:
    one: dict[str, Any] = {"type": ["string", "number"]}
    if words:
        one["examples"] = list(words)
    ratio = {
        "type": "object",
        "properties": {"ratio_to": {"$ref": "#/$defs/CellChange"}, "expect": {"type": ["string", "number"]}},
        "required": ["ratio_to", "expect"],
        "additionalProperties": False,
    }
    return {"anyOf": [one, {"type": "array", "items": one, "minItems": 1}, *([] if words else [ratio])]}
