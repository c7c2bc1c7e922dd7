"""The words that ask about a cell lead back to it."""

from __future__ import annotations

import click
import pytest

from actprof.api.cells import make_cell
from actprof.cli.options import cell_options
from actprof.cli.run_options import options_of
from actprof.scenario.cell import Cell


@click.command()
@cell_options
def ask(**options):
    """Hand out the cell."""
    return make_cell(**options)


@pytest.mark.parametrize(
    "cell",
    [
        Cell(),
        Cell(gpu=None, capacity_bytes=25_434_128_385, used_by_others_bytes=3),
        Cell(gpu="RTX 4090", capacity_bytes=1 << 34, cudnn_benchmark=False, precision="bf16"),
        Cell(overrides={"chunk_size": 50, "use_vae": False, "dropout": 0.1, "vision_backbone": "resnet34"}),
        Cell(cameras=3, resolution="96x64", batch_size=4, state_dim=0, action_dim=7, optimizer="sgd"),
        Cell(alloc_conf="expandable_segments:True", changes=("channels_last", "fused_attention")),
        Cell(overrides={"pretrained_backbone_weights": None, "replace_final_stride_with_dilation": [1, 2]}),
    ],
)
def test_the_options_of_a_cell_ask_about_it(cell):
    """Every field survives."""
    assert cell == ask.main(options_of(cell), standalone_mode=False)
