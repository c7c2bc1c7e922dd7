"""Scenario files to scenarios, and every refusal with its line."""

from pathlib import Path

import pytest

from actprof.cell import Cell
from actprof.errors import ScenarioError
from actprof.policies import policy_names
from actprof.scenario.loading import load_scenario
from actprof.units import GIB, MIB

SHIPPED = Path(__file__).parents[2] / "scenarios"
POLICIES = ", ".join(policy_names())
KEYS = (
    "policy, set, cameras, resolution, batch_size, state_dim, action_dim, environment_dim, task_tokens, "
    "optimizer, peft, accumulate, ema, precision, alloc_conf, expandable_segments, gpu, capacity, "
    "used_by_others, cudnn_benchmark, world_size, strategy, find_unused_parameters, "
    "gradient_as_bucket_view, reshard_after_forward, wrap_modules, changes"
)

OTHER_KEYS = "name, question, cpu_check, gpus, policies, sweep, exclude, expect"
LISTS_ALL = "`actprof gpus` lists all"
WAYS_OUT = (
    "--capacity SIZE (like 23.5GiB, of 24 GB) takes any card of that size, and "
    "/nowhere/actprof/gpus.toml can describe it"
)
NEAREST = "nearest by name: RTX 4070 Ti, RTX 4060 Ti 8 GB, RTX 3080 Ti"
CAMERAS = "a number from 0, or the resolution of each, like [640x480, 480x640]"
TO_SWEEP = "to try several, write it under sweep:"


@pytest.fixture
def load(tmp_path, monkeypatch):
    """Return a function that loads a text as `s.yaml`."""
    monkeypatch.chdir(tmp_path)

    def load_text(content):
        Path("s.yaml").write_text(content, encoding="utf-8")
        return load_scenario("s.yaml")

    return load_text


def test_the_shipped_3090_scenario_asks_about_210_cells_and_30_boundaries():
    """Five resolutions, three camera counts, two allocator settings, seven batch sizes, on an RTX 3090."""
    scenario = load_scenario(SHIPPED / "3090.yaml")
    assert 210 == len(scenario.cells)
    boundaries = {(cell.resolution, cell.cameras, cell.alloc_conf) for cell in scenario.cells}
    assert 30 == len(boundaries)
    assert {
        "resolution": ("640x480", "480x360", "320x240", "256x256", "224x224"),
        "cameras": (1, 2, 3),
        "expandable_segments": (False, True),
        "batch_size": (8, 16, 32, 48, 64, 96, 128),
    } == scenario.axes
    expected = Cell(overrides={"chunk_size": 50, "n_action_steps": 50}, cameras=1, gpu="RTX 3090")
    assert expected == scenario.cells[0]


def test_the_shipped_baseline_is_the_run_that_ran_out():
    """Batch 32 and 64, both allocator settings, recorded and proposed sizes, 2.3 GiB used by others."""
    scenario = load_scenario(SHIPPED / "so101-baseline.yaml")
    ran_out = Cell(
        overrides={"chunk_size": 50, "n_action_steps": 50},
        batch_size=64,
        used_by_others_bytes=round(2.3 * GIB),
    )
    assert ran_out in scenario.cells
    assert 12 == len(scenario.cells)
    assert {"", "expandable_segments:True"} == {cell.alloc_conf for cell in scenario.cells}


@pytest.mark.parametrize("file", sorted(SHIPPED.glob("*.yaml")), ids=lambda file: file.stem)
def test_shipped_scenarios_open_with_their_question(file):
    """The opening comment ends in a question mark, and editors find the schema."""
    scenario = load_scenario(file)
    assert scenario.question.endswith("?")
    assert (file.stem, file) == (scenario.name, scenario.path)
    assert "# yaml-language-server: $schema=../actprof/scenario/scenario.schema.json" in file.read_text()


def test_a_scenario_takes_names_and_values_in_their_usual_forms(load):
    """GPUs by any usual name, sizes with units, scientific notation, yes and no."""
    scenario = load(
        "# What if?\n"
        "gpu: 3090\ncapacity: 20GiB\nused_by_others: 0\ncpu_check: no\nexpandable_segments: on\n"
        "set: {optimizer_lr: 1e-5, use_vae: off, vision_backbone: resnet18}\n"
    )
    expected = Cell(
        gpu="RTX 3090",
        capacity_bytes=20 * GIB,
        alloc_conf="expandable_segments:True",
        overrides={"optimizer_lr": 1e-5, "use_vae": False, "vision_backbone": "resnet18"},
    )
    assert [expected] == list(scenario.cells)
    assert ("s", "What if?", False) == (scenario.name, scenario.question, scenario.cpu_check)


def test_cameras_may_be_the_list_of_their_resolutions(load):
    """Beside a number; resolution takes a list for so many cameras as well."""
    expected = Cell(cameras=2, resolution="640x480,480x640")
    assert [expected] == list(load("cameras: [640x480, 480x640]\n").cells)
    assert [expected] == list(load("cameras: 2\nresolution: 640x480,480x640\n").cells)


def test_name_and_question_may_be_given(load):
    """They win over the file's name and the opening comment."""
    scenario = load("# Not me?\nname: on\nquestion: Me?\n")
    assert ("on", "Me?") == (scenario.name, scenario.question)


def test_a_file_name_that_cannot_name_a_folder_is_mended(tmp_path):
    """The name of the results' folder has no spaces."""
    file = tmp_path / "my run (2).yaml"
    file.write_text("policy: act\n")
    assert load_scenario(file).name == "my-run-2"


@pytest.mark.parametrize(
    ("axis", "values", "field", "expected"),
    [
        ("gpu", "[3090, a100-80]", "gpu", ["RTX 3090", "A100 80 GB"]),
        ("policy", "[act]", "policy", ["act"]),
        ("precision", "[fp32, bf16]", "precision", ["fp32", "bf16"]),
        ("optimizer", "[preset, sgd]", "optimizer", ["preset", "sgd"]),
        ("capacity", "[8GiB, 512MiB]", "capacity_bytes", [8 * GIB, 512 * MIB]),
        ("used_by_others", "[0, 2GiB]", "used_by_others_bytes", [0, 2 * GIB]),
        ("alloc_conf", "['', 'max_split_size_mb:128']", "alloc_conf", ["", "max_split_size_mb:128"]),
        ("state_dim", "[0, 6]", "state_dim", [0, 6]),
        ("action_dim", "[6, 14]", "action_dim", [6, 14]),
        ("cameras", "[0, 1, [640x480, 480x640]]", "cameras", [0, 1, 2]),
        ("cameras", "[[640x480, 480x640], 640x480]", "resolution", ["640x480,480x640", "640x480"]),
        ("environment_dim", "[0, 4]", "environment_dim", [0, 4]),
        ("task_tokens", "[0, 12]", "task_tokens", [0, 12]),
        (
            "peft",
            "[{}, {r: 16, target_modules: [q_proj]}]",
            "peft",
            [{}, {"r": 16, "target_modules": ["q_proj"]}],
        ),
        ("accumulate", "[1, 4]", "accumulate", [1, 4]),
        ("ema", "[false, true]", "ema", [False, True]),
        ("set.chunk_size", "[50, 100]", "overrides", [{"chunk_size": 50}, {"chunk_size": 100}]),
        ("set", "[{a: 1, b: 1}, {a: 2}]", "overrides", [{"a": 1, "b": 1}, {"a": 2}]),
    ],
)
def test_any_field_may_be_swept(load, axis, values, field, expected):
    """Each value of the axis gives one cell."""
    scenario = load(f"sweep:\n  {axis}: {values}\n")
    assert expected == [getattr(cell, field) for cell in scenario.cells]
    assert [axis] == list(scenario.axes)


def test_exclusions_name_one_value_or_several(load):
    """A rule matches when all its axes do; a list stands for any of its values."""
    scenario = load(
        "sweep:\n  gpu: [3090, T4]\n  batch_size: [8, 16, 32]\n  set.chunk_size: [50, 100]\n"
        "exclude:\n  - {gpu: rtx3090, batch_size: [16, 32]}\n  - {set.chunk_size: 100}\n"
    )
    found = [(cell.gpu, cell.batch_size, cell.overrides["chunk_size"]) for cell in scenario.cells]
    assert [("RTX 3090", 8, 50), ("T4", 8, 50), ("T4", 16, 50), ("T4", 32, 50)] == found


def test_a_scenario_may_bring_its_own_gpus(load):
    """GIVEN `gpus:` WHEN a cell names one THEN it is found, with the file as its source."""
    scenario = load(
        "gpus:\n  Lab card: {capacity: 47.5GiB, compute_capability: 8.9, bandwidth: 960 GB/s}\n"
        "sweep:\n  gpu: [lab card, T4]\n"
    )
    assert ["Lab card", "T4"] == [cell.gpu for cell in scenario.cells]
    mine = scenario.catalogue.find("Lab card")
    assert (47.5 * GIB, (8, 9), 960e9) == (
        mine.capacity_bytes,
        mine.compute_capability,
        mine.memory_bandwidth_bytes_per_s,
    )
    assert mine.sources["capacity_bytes"] == "given in s.yaml"


REFUSALS = [
    ("policy: act\nbatch_sizes: 3\n", "2: unknown key 'batch_sizes'; did you mean batch_size?"),
    ("qqq: 3\n", f"1: unknown key 'qqq'; the keys here are {KEYS}, {OTHER_KEYS}"),
    ("sweep:\n  batch_size: [8]\n  bach_size: [8]\n", "3: unknown key 'bach_size'; did you mean batch_size?"),
    ("sweep:\n  name: [a]\n", f"2: unknown key 'name'; the keys here are {KEYS}, set.FIELD"),
    ("policy: atc\n", f"1: unknown policy 'atc'; did you mean act? known: {POLICIES}"),
    ("sweep: {policy: [act, rt2]}\n", f"1: unknown policy 'rt2'; known: {POLICIES}"),
    ("precision: f32\n", "1: unknown precision 'f32'; did you mean fp32? known: fp32, fp16, bf16"),
    (
        "gpu: RTX 4080 Ti\n",
        f"1: unknown GPU 'RTX 4080 Ti'; {NEAREST}; {LISTS_ALL}; {WAYS_OUT}",
    ),
    (
        "sweep:\n  gpu:\n    - T4\n    - A101\n",
        f"4: unknown GPU 'A101'; nearest by name: A10, A100 40 GB, RTX A1000; {LISTS_ALL}; {WAYS_OUT}",
    ),
    ("batch_size: 0\n", "1: batch_size must be at least 1, not 0"),
    ("sweep:\n  batch_size:\n    - 8\n    - -8\n", "4: batch_size must be at least 1, not -8"),
    ("cameras: -1\n", f"1: cameras must be {CAMERAS}, not -1"),
    ("cameras: 2.0\n", f"1: cameras must be {CAMERAS}, not 2.0"),
    ("cameras:\n", f"1: cameras must be {CAMERAS}, not nothing"),
    ("cameras: []\n", f"1: cameras must be {CAMERAS}, not a list; {TO_SWEEP}"),
    ("cameras: [1, 2]\n", f"1: cameras must be {CAMERAS}, not a list; {TO_SWEEP}"),
    ("cameras: [640x480, 480]\n", f"1: cameras must be {CAMERAS}, not a list; {TO_SWEEP}"),
    ("cameras: [640x480, 480x]\n", "1: '480x' is not a resolution; write WIDTHxHEIGHT, like 640x480"),
    (
        "sweep:\n  cameras: [[640x480, 480x640], '640x480,480x640']\n",
        "2: cameras repeats 640x480,480x640; keep one",
    ),
    ("peft: 16\n", "1: peft must be a mapping, like {r: 16}, not 16"),
    ("accumulate: 0\n", "1: accumulate must be at least 1, not 0"),
    ("ema: maybe\n", "1: ema must be true or false, not 'maybe'"),
    ("state_dim: -1\n", "1: state_dim must be at least 0, not -1"),
    ("batch_size: eight\n", "1: batch_size must be a whole number, not 'eight'"),
    ("batch_size: 8.0\n", "1: batch_size must be a whole number, not 8.0"),
    ("batch_size: '8'\n", "1: batch_size must be a whole number, not '8'"),
    ("batch_size: yes\n", "1: batch_size must be a whole number, not true"),
    ("batch_size:\n", "1: batch_size must be a whole number, not nothing"),
    ("batch_size: [8]\n", f"1: batch_size must be a whole number, not a list; {TO_SWEEP}"),
    ("gpu: [T4, L4]\n", f"1: gpu must be a text, not a list; {TO_SWEEP}"),
    ("gpu: null\n", "1: gpu must be a text, not nothing"),
    ("resolution: 640*480\n", "1: '640*480' is not a resolution; write WIDTHxHEIGHT, like 640x480"),
    ("resolution: 640\n", "1: '640' is not a resolution; write WIDTHxHEIGHT, like 640x480"),
    ("sweep: {resolution: [640:48]}\n", "1: '640:48' is not a resolution; write WIDTHxHEIGHT, like 640x480"),
    ("expandable_segments: maybe\n", "1: expandable_segments must be true or false, not 'maybe'"),
    ("capacity: lots\n", "1: 'lots' is not a size; write it like 23.69GiB, 512MiB or 24GB"),
    ("capacity: 24\n", "1: '24' is too small for a GPU; write the unit, like 23.69GiB"),
    ("capacity: {a: 1}\n", "1: capacity must be a size, like 2.3GiB, not a mapping"),
    ("used_by_others: 2.3\n", "1: '2.3' is less than 1 MiB; write the unit, like 2.3GiB"),
    ("set: [1]\n", f"1: set must be a mapping, like {{chunk_size: 50}}, not a list; {TO_SWEEP}"),
    ("set: {chunk-size: 3}\n", "1: 'chunk-size' is not a field of a config; write a name like chunk_size"),
    ("name: a/b\n", "1: 'a/b' cannot name a folder; use letters, digits, '.', '-' and '_'"),
    ("sweep:\n", "1: sweep must be a mapping, like {batch_size: [8, 16]}, not nothing"),
    ("sweep: {}\n", "1: sweep has no axes; add one, like batch_size: [8, 16], or remove it"),
    ("sweep:\n  batch_size: 8\n", "2: batch_size must be a list of values, like [8, 16], not 8"),
    ("sweep:\n  batch_size: []\n", "2: batch_size has no values; write at least one, or remove the axis"),
    ("sweep:\n  set.a: []\n", "2: set.a has no values; write at least one, or remove the axis"),
    ("sweep:\n  batch_size:\n    - 8\n    - 16\n    - 8\n", "5: batch_size repeats 8; keep one"),
    ("sweep:\n  gpu: [3090, RTX 3090]\n", "2: gpu repeats RTX 3090; keep one"),
    ("cameras: 2\nsweep:\n  cameras: [1]\n", "3: cameras is both fixed and swept; keep one"),
    ("exclude: {cameras: 3}\n", "1: exclude must be a list of mappings, like [{cameras: 3}], not a mapping"),
    ("sweep: {cameras: [1]}\nexclude:\n  - {camera: 3}\n", "3: unknown key 'camera'; did you mean cameras?"),
    ("sweep: {cameras: [1]}\nexclude:\n  - {cameras: 3}\n", "3: cameras never is 3; its values are 1"),
    ("sweep: {cameras: [1]}\nexclude:\n  - {cameras: 1}\n", "2: exclude leaves no run; remove an exclusion"),
    (
        f"cameras: 1\nsweep:\n  state_dim: {list(range(1001))}\n  batch_size: {list(range(1, 1001))}\n",
        "2: the grid has 1,001,000 runs; the limit is 1,000,000, so sweep fewer values",
    ),
    (
        "expandable_segments: true\nalloc_conf: expandable_segments:False\n",
        "1: expandable_segments is in alloc_conf as well; keep one",
    ),
    ("gpus: []\n", "1: gpus must be a mapping, like {My card: {capacity: 23.5GiB}}, not a list"),
    ("gpus:\n  Mine: {context: 3MiB}\n", "2: GPU 'Mine' has no capacity; add one, like capacity: 23.5GiB"),
    (
        "gpus:\n  Mine: {capacity: 9GiB, bandwith: 1}\ngpu: Mine\n",
        "2: unknown key 'bandwith'; did you mean bandwidth?",
    ),
    (
        "gpus:\n  Mine:\n    capacity: 9GiB\n    fp32: 1\n",
        "4: '1' is not a rate of arithmetic; write it like 35.6 TFLOPS",
    ),
    (
        "precision: f32\nbatch_size: 0\n",
        "1: unknown precision 'f32'; did you mean fp32? known: fp32, fp16, bf16",
    ),
    ("batch_size: 0\nprecision: f32\n", "1: batch_size must be at least 1, not 0"),
    ("cameras: 2\ncameras: 2\n", "2: 'cameras' is given twice (first on line 1); keep one"),
]  # fmt: skip


@pytest.mark.parametrize(("content", "expected"), REFUSALS, ids=[content[:40] for content, _ in REFUSALS])
def test_each_mistake_has_one_message_with_file_and_line(monkeypatch, load, content, expected):
    """What is wrong, where, and what to write instead; of several the first in the file."""
    monkeypatch.setenv("ACTPROF_CONFIG_DIR", "/nowhere/actprof")
    with pytest.raises(ScenarioError) as caught:
        load(content)
    assert f"s.yaml:{expected}" == str(caught.value)


def test_allocator_settings_are_those_that_pytorch_takes(load):
    """The allocator's own parser checks them; its words follow file and line."""
    from actprof.allocator.config import AllocatorConfig
    from actprof.errors import UsageError

    with pytest.raises(UsageError) as own:
        AllocatorConfig.parse("max_split_size_mb:1")
    with pytest.raises(ScenarioError) as caught:
        load("cameras: 2\nalloc_conf: max_split_size_mb:1\n")
    assert f"s.yaml:2: {own.value}" == str(caught.value)
