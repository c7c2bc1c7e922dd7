"""Lerobot's Diffusion Policy: its history, its crops and its batch norm, traced without a GPU."""

from dataclasses import replace

import pytest
import torch
from small_cells import check_every_batch_size, with_overrides

from actprof.advice.remedies import offers
from actprof.cell import Cell
from actprof.claims.quantities import read_facts
from actprof.errors import UsageError
from actprof.measuring.grounding import check_grounding, ground
from actprof.policies.workload import build_workload, policy_config
from actprof.trace.fake import fake_cuda
from actprof.trace.record import record, record_trace

SMALL = {"down_dims": [16, 32], "horizon": 8, "n_action_steps": 4, "spatial_softmax_num_keypoints": 4}
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def cell():
    """A cell whose Diffusion is small enough to run anywhere in seconds."""
    return Cell(policy="diffusion", overrides=SMALL, resolution="64x64", batch_size=2, gpu=None)


@pytest.fixture(scope="module")
def trace(cell):
    """Return the trace of the small Diffusion."""
    return record_trace(cell)


def convolutions(recording):
    """Return the FLOPs of every convolution of the ResNets, forward and backward."""
    recorder = recording.recorder
    return [
        flops
        for module, flops in zip(recorder.op_modules, recorder.op_flops, strict=True)
        if ".backbone." in module and flops
    ]


def test_one_trace_serves_every_batch_size(cell, trace):
    """Sizes are affine, and the last step repeats."""
    check_every_batch_size(cell, trace)


@pytest.mark.parametrize(("cameras", "parameters"), [(2, 277_819_846), (1, 262_952_742)])
def test_the_default_policy_has_the_parameters_of_lerobots(cameras, parameters):
    """As counted on an H100; each camera brings a ResNet-18 of its own and more to condition on."""
    with fake_cuda():
        policy = build_workload(Cell(policy="diffusion", cameras=cameras), torch.device("cuda")).policy
    assert parameters == sum(parameter.numel() for parameter in policy.parameters())


@pytest.mark.parametrize(("separate", "backbones"), [(True, 2), (False, 1)])
def test_a_resnet_for_each_camera_unless_they_share_it(cell, separate, backbones):
    """A claim on backbones counts them."""
    facts = record(with_overrides(cell, use_separate_rgb_encoder_per_camera=separate), steps=1).policy
    assert backbones == read_facts("backbones", facts)
    assert {"image encoder", "U-Net"} == {parameter.component for parameter in facts.parameters}


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_a_batch_has_the_frames_of_the_history(cell, steps):
    """Each with its mask; actions reach over the horizon."""
    cell = with_overrides(cell, n_obs_steps=steps)
    batch = next(build_workload(cell, CPU).batch_stream)
    frames = () if steps == 1 else (steps,)
    assert (2, *frames, 3, 64, 64) == tuple(batch["observation.images.camera1"].shape)
    assert (2, steps, 6) == tuple(batch["observation.state"].shape)
    assert (2, 8, 6) == tuple(batch["action"].shape)
    assert (2, steps) == tuple(batch["observation.images.camera1_is_pad"].shape)
    assert (8, 6) == record(cell, steps=1).policy.output_shape


def test_the_backbone_sees_the_crop(cell):
    """Convolutions are those of images of the size of the crop; the batch holds whole images."""
    large = replace(cell, resolution="128x96")
    cropped = convolutions(record(with_overrides(large, crop_shape=[64, 64]), steps=1))
    assert convolutions(record(cell, steps=1)) == cropped
    assert sum(convolutions(record(large, steps=1))) > 2 * sum(cropped)


def test_no_weights_are_fetched(cell):
    """Whatever a run asks for: they change no size."""
    weights = "ResNet18_Weights.IMAGENET1K_V1"
    config = policy_config(with_overrides(cell, pretrained_backbone_weights=weights))
    assert config.pretrained_backbone_weights is None


def test_the_trace_is_what_a_run_on_the_cpu_does(cell, trace):
    """The same parameters and output; it reads no tokens."""
    check_grounding(ground(cell), trace.policy)
    assert (0, (8, 6)) == (trace.policy.encoder_tokens, trace.policy.output_shape)


def test_what_is_right_for_act_alone_is_neither_offered_nor_made(cell):
    """Batch norm makes another training of halves and of layers that run twice."""
    assert {"adamw_8bit", "channels_last", "fused_adamw"} == {
        offer.name for offer in offers(replace(cell, batch_size=8)) if offer.code
    }
    with pytest.raises(UsageError, match="accumulate_2 does not fit"):
        record(replace(cell, changes=("accumulate_2",)))


def test_its_changes_trace_as_well(cell):
    """One trace for all batch sizes."""
    assert record_trace(replace(cell, changes=("channels_last", "fused_adamw"))).fixed_batch_size is None
