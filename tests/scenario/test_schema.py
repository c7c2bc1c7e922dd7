"""The JSON Schema that editors use."""

import json
import re
from importlib import resources

from actprof.cell_field import parse_resolution
from actprof.scenario.schema import CellFields, ScenarioFile, scenario_json_schema

SHIPPED = json.loads(resources.files("actprof.scenario").joinpath("scenario.schema.json").read_text("utf-8"))


def test_the_shipped_schema_is_the_one_of_the_models():
    """Editors see what the loader takes."""
    assert scenario_json_schema() == SHIPPED


def test_every_field_can_be_fixed_swept_and_excluded():
    """The three sections know the same fields."""
    fields = set(CellFields.model_fields)
    assert fields == set(SHIPPED["$defs"]["Sweep"]["properties"])
    assert fields == set(SHIPPED["$defs"]["Exclusion"]["properties"])
    assert set(ScenarioFile.model_fields) == set(SHIPPED["properties"])


def test_unknown_keys_are_marked_in_every_section():
    """Only `set.FIELD` opens the sections of the grid."""
    sections = [SHIPPED, *SHIPPED["$defs"].values()]
    assert all(section["additionalProperties"] is False for section in sections)
    assert [r"^set\.[A-Za-z_]\w*$"] == list(SHIPPED["$defs"]["Sweep"]["patternProperties"])


def test_every_key_is_described():
    """A completion without a description helps nobody."""
    for section in (SHIPPED, SHIPPED["$defs"]["Sweep"], SHIPPED["$defs"]["GpuEntry"]):
        assert all(value.get("description") for value in section["properties"].values())


def test_the_pattern_of_resolutions_takes_what_the_parser_takes():
    """The schema's pattern and the parser agree."""
    pattern = SHIPPED["properties"]["resolution"]["pattern"]
    assert re.search(pattern, "640x480")
    assert parse_resolution("640x480") == (640, 480)
    assert not any(re.search(pattern, text) for text in ("640*480", "0x480", "640X480", "640"))
