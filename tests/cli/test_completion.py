"""What a shell is offered while a command is typed."""

import pytest
from click.shell_completion import ShellComplete

from actprof.cli import cli
from actprof.hardware import builtin_catalogue


@pytest.mark.parametrize(
    ("typed", "begun", "offered"),
    [
        ([], "pre", {"predict", "preflight"}),
        (["predict", "--policy"], "smol", {"smolvla"}),
        (["predict", "--gpu"], "rtx-3090", {"RTX-3090", "RTX-3090-Ti"}),
        (["preflight", "--gpu"], "h200", {"H200", "H200-NVL"}),
        (["predict", "--change"], "fused_at", {"fused_attention"}),
    ],
)
def test_commands_options_and_names_are_offered(typed, begun, offered):
    """Commands, policies, cards and changes."""
    found = ShellComplete(cli, {}, "actprof", "_ACTPROF_COMPLETE").get_completions(typed, begun)
    assert offered == {item.value for item in found}


def test_a_card_is_found_by_the_name_that_is_offered():
    """With hyphens for its blanks."""
    catalogue = builtin_catalogue()
    assert [gpu.name for gpu in catalogue.gpus] == [
        catalogue.find("-".join(gpu.name.split())).name for gpu in catalogue.gpus
    ]
