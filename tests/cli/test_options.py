"""The options of a cell, and the commands that actprof prints for one."""

import shlex

import click
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from actprof.api.cells import make_cell
from actprof.cell import CELL_FIELDS, CHANGES, OPTIMIZERS, PRECISIONS, Cell
from actprof.cli.options import cell_options, played_cell_options
from actprof.words import cell_command

COUNTS = st.integers(1, 512)
CELLS = st.builds(
    Cell,
    overrides=st.dictionaries(
        st.sampled_from(["chunk_size", "use_vae", "rates"]),
        st.one_of(st.integers(), st.booleans(), st.none(), st.just("resnet34"), st.lists(st.integers())),
    ),
    cameras=st.integers(0, 8) | st.lists(st.sampled_from(["640x480", "480x640"]), min_size=1).map(tuple),
    batch_size=COUNTS.map(lambda count: 2 * count),
    state_dim=st.integers(0, 20),
    action_dim=COUNTS,
    environment_dim=st.integers(0, 20),
    task_tokens=st.integers(0, 64),
    peft=st.fixed_dictionaries({}, optional={"r": COUNTS, "target_modules": st.just(["q_proj", "v_proj"])}),
    accumulate=COUNTS,
    ema=st.booleans(),
    optimizer=st.sampled_from(OPTIMIZERS),
    precision=st.sampled_from(PRECISIONS),
    alloc_conf=st.sampled_from(["", "expandable_segments:True"]),
    gpu=st.sampled_from(["RTX 3090", "A100 80 GB"]),
    capacity_bytes=st.none() | st.integers(2**30, 2**40),
    used_by_others_bytes=st.integers(0, 2**40),
    cudnn_benchmark=st.booleans(),
    changes=st.sets(st.sampled_from(CHANGES)).map(tuple),
)


def read(decorate, words):
    """Return what a command with the options of a cell is given by a command line."""
    found = {}

    @click.command()
    @decorate
    def command(**options):
        found.update(options)

    result = CliRunner().invoke(command, words, catch_exceptions=False)
    assert 0 == result.exit_code, result.output
    return found


def made(words):
    """Return the cell of a command line."""
    return make_cell(**read(cell_options, words))


@given(CELLS)
def test_the_command_of_a_cell_makes_that_cell(cell):
    """Every field is written as it is read, and what is left out has its default."""
    words = shlex.split(cell_command(cell, "explain"))

    assert ["actprof", "explain"] == words[:2]
    assert cell == made(words[2:])


def test_a_capacity_alone_is_a_cell_without_a_gpu():
    """None is a value of the field; nothing is said of it."""
    cell = Cell(gpu=None, capacity_bytes=2**34)
    assert cell == made(shlex.split(cell_command(cell))[2:])


def test_cameras_are_a_number_or_their_resolutions():
    """With commas between; none at all is a number too."""
    assert Cell(cameras=["640x480", "480x640"]) == made(["--cameras", "640x480,480x640"])
    assert Cell(cameras=0, environment_dim=4) == made(["--cameras", "0", "--environment-dim", "4"])


def test_an_adapter_is_given_field_by_field():
    """Values are JSON where they are, as those of --set."""
    words = ["--peft", "r=16", "--peft", 'target_modules=["q_proj","v_proj"]', "--accumulate", "4", "--ema"]
    adapter = {"r": 16, "target_modules": ["q_proj", "v_proj"]}
    assert Cell(peft=adapter, accumulate=4, ema=True) == made(words)


def test_half_of_a_field_names_the_option_that_it_was_given_to():
    """--peft as well as --set."""
    command = click.command()(cell_options(lambda **_: None))
    result = CliRunner().invoke(command, ["--peft", "r"])
    assert (2, True) == (
        result.exit_code,
        "Invalid value for --peft: 'r' is not FIELD=VALUE" in result.output,
    )


def test_every_field_is_an_option_and_a_keyword():
    """A measurement has the same, and other names for the GPU that it plays."""
    keywords = {part.keyword for part in CELL_FIELDS}

    assert keywords == set(read(cell_options, [])) == set(read(played_cell_options, []))
    assert "T4" == read(played_cell_options, ["--as", "T4"])["gpu"]
    assert Cell() == made([])
