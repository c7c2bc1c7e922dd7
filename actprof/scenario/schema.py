"""The form of a scenario file, as pydantic models, and its JSON Schema for editors.

`CellFields` lists once what a cell is made of; the models of `sweep:` and `exclude:` are derived from it, so
whatever can be fixed can be swept and excluded.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, create_model

from actprof.cell import Cell
from actprof.claims.quantities import PARTED, PLAIN
from actprof.scenario import fields as f

_DEFAULT: Any = Cell()
# Stands for "left out": only the keys that a file has are read from a model.
_LEFT_OUT: Any = None
SET_PREFIX = "set."


class _Strict(BaseModel):
    """Unknown keys are errors, and no value is bent into another type."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class CellFields(_Strict):
    """What a cell is made of; each may be fixed, or swept under `sweep:`."""

    policy: f.Policy = Field(_DEFAULT.policy, description="lerobot's name of the policy")
    set: f.Overrides = Field(
        {}, description="fields of the policy's lerobot config; a single one is swept as set.FIELD"
    )
    cameras: f.Count = Field(_DEFAULT.cameras, description="number of cameras")
    resolution: f.Resolution = Field(_DEFAULT.resolution, description="WIDTHxHEIGHT of each camera in pixels")
    batch_size: f.Count = Field(_DEFAULT.batch_size, description="samples per training step")
    state_dim: f.CountOrNone = Field(_DEFAULT.state_dim, description="length of the state vector (0: none)")
    action_dim: f.Count = Field(_DEFAULT.action_dim, description="length of one action")
    optimizer: f.Optimizer = Field(_DEFAULT.optimizer, description="preset is the policy's own")
    precision: f.Precision = Field(_DEFAULT.precision, description="the accelerator's mixed precision")
    alloc_conf: f.AllocConf = Field("", description="a PYTORCH_CUDA_ALLOC_CONF in PyTorch's syntax")
    expandable_segments: bool = Field(default=False, description="short for that alloc_conf")
    gpu: f.GpuName = Field(_DEFAULT.gpu, description="a GPU of the catalogue or of gpus:, by any usual name")
    capacity: f.Capacity = Field(
        _LEFT_OUT, description="memory of the device instead of the GPU's usual figure"
    )
    used_by_others: f.UsedByOthers = Field(0, description="memory that other programs hold")
    cudnn_benchmark: bool = Field(
        _DEFAULT.cudnn_benchmark, description="false is what lerobot's cudnn_deterministic makes of it"
    )
    changes: f.Changes = Field([], description="changes made to the policy or its optimizer in Python")


def _as_list(value: Any) -> Any:
    return value if isinstance(value, list) else [value]


def _value_type(name: str) -> Any:
    """Return the type of a cell field with its checks, as an item of a list."""
    info = CellFields.model_fields[name]
    return Annotated[info.annotation, *info.metadata] if info.metadata else info.annotation


def _derive(name: str, base: type[BaseModel], wrap: Any) -> Any:
    definitions: dict[str, Any] = {
        field: (wrap(_value_type(field)), Field(_LEFT_OUT, description=info.description))
        for field, info in CellFields.model_fields.items()
    }
    return create_model(name, __base__=base, **definitions)


class _SweepBase(_Strict):
    """Axes: each key a field of a cell, or `set.FIELD`, with the list of its values."""

    # Unknown keys that start with `set.` are axes over one field of the config; `loading` refuses the others.
    model_config = ConfigDict(extra="allow", strict=True, frozen=True)
    __pydantic_extra__: dict[str, Annotated[list[Any], Field(min_length=1)]]


class _ExclusionBase(_Strict):
    """A combination to leave out: axes and the value (or values) at which they are left out."""

    model_config = ConfigDict(extra="allow", strict=True, frozen=True)
    __pydantic_extra__: dict[str, Annotated[list[Any], BeforeValidator(_as_list)]]


class _SelectionBase(_Strict):
    """The cells of the grid in which something is expected: axes and their value (or values) there."""

    model_config = ConfigDict(extra="allow", strict=True, frozen=True)
    __pydantic_extra__: dict[str, Annotated[list[Any], BeforeValidator(_as_list)]]


class _CellChangeBase(_Strict):
    """Fields of a cell, each with its value, instead of those of the grid's first cell."""


def _axis_type(item: Any) -> Any:
    return Annotated[list[item], Field(min_length=1)]


def _excluded_type(item: Any) -> Any:
    return Annotated[list[item], BeforeValidator(_as_list)]


if TYPE_CHECKING:
    type Sweep = _SweepBase
    type Exclusion = _ExclusionBase
    type Selection = _SelectionBase
    type CellChange = _CellChangeBase
else:
    Sweep = _derive("Sweep", _SweepBase, _axis_type)
    Exclusion = _derive("Exclusion", _ExclusionBase, _excluded_type)
    Selection = _derive("Selection", _SelectionBase, _excluded_type)
    CellChange = _derive("CellChange", _CellChangeBase, lambda item: item)


class ExpectEntry(_Strict):
    """Quantities and what each should be (`encoder_tokens: 602`), who says so, and in which cells."""

    # Further keys are quantities; `expecting` reads them.
    model_config = ConfigDict(extra="allow", strict=True, frozen=True)
    __pydantic_extra__: dict[str, Any]

    claim: str = Field("", description="the words of who says so")
    source: str = Field("", description="where they say it")
    where: Selection = Field(_LEFT_OUT, description="the cells of the grid that it is about; all if left out")
    at: CellChange = Field(
        _LEFT_OUT, description="one cell of its own: the grid's first, with these fields instead"
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
    aliases: list[str] = Field([], description="other names")


class GpuFile(_Strict):
    """A file that only adds GPUs."""

    gpus: dict[str, GpuEntry]


class ScenarioFile(CellFields):
    """A scenario: fixed fields at the top, axes under `sweep:`, what to leave out under `exclude:`."""

    name: f.ScenarioName = Field("", description="names the folder of the results; else the file's name")
    question: str = Field("", description="what the scenario asks; the opening comment if left out")
    ground: bool = Field(default=True, description="whether a sweep also runs the policy on the CPU")
    gpus: dict[str, GpuEntry] = Field({}, description="GPUs of one's own, by name")
    sweep: Sweep = Field(_LEFT_OUT, description="axes: each a list of values; the grid is their product")
    exclude: list[Exclusion] = Field([], description="combinations of axis values to leave out")
    expect: list[ExpectEntry] = Field([], description="claims to check, a memory budget to keep")


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
