"""A workload is lerobot's own training step, on the CPU as well."""

import pickle
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import actprof.policies
from actprof.cell import CHANGES, Cell
from actprof.errors import FieldError, UsageError
from actprof.policies import policy_names, policy_spec
from actprof.policies.accelerator import StepAccelerator
from actprof.policies.changes import read_change
from actprof.policies.facts import find_component
from actprof.policies.precision import autocast_of
from actprof.policies.workload import build_workload, outside_answered, policy_config

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def stepped(small_cell):
    """Build the small ACT, take one step, and say what changed and which phases were entered."""
    phases = []

    @contextmanager
    def phase(name):
        phases.append(name)
        yield
        phases.append(f"/{name}")

    accelerator = StepAccelerator(device_type="cpu", phase=phase)
    workload = build_workload(small_cell, CPU, accelerator=accelerator)
    before = {name: tensor.detach().clone() for name, tensor in workload.policy.state_dict().items()}
    workload.step(phase)
    after = workload.policy.state_dict()
    moved = {name for name, tensor in before.items() if not torch.equal(tensor, after[name])}
    return workload, moved, phases


@pytest.fixture
def workload(stepped):
    """The workload after its step."""
    return stepped[0]


def test_a_step_changes_the_parameters(stepped):
    """And nothing else; gradients are gone afterwards, as lerobot's loop leaves them."""
    workload, moved, _phases = stepped
    trained = {name for name, p in workload.policy.named_parameters() if p.requires_grad}
    assert moved <= trained
    assert {
        "model.backbone.conv1.weight",
        "model.action_head.weight",
        "model.encoder.norm.weight",
    } & trained <= moved
    # Attention over the decoder's zeros has no gradient in its first step.
    assert {"decoder"} == {name.split(".")[1] for name in trained - moved}
    assert all(p.grad is None for p in workload.policy.parameters())


def test_a_step_fills_lerobots_metrics(workload):
    """The tracker saw a loss, a gradient norm and a learning rate."""
    assert workload.metrics.loss.val > 0
    assert workload.metrics.grad_norm.val > 0
    assert workload.metrics.lr.val == workload.optimizer.param_groups[0]["lr"]


def test_phases_are_entered_in_order(stepped):
    """`data`, then `update`; inside, the accelerator's."""
    _workload, _moved, phases = stepped
    expected = [
        "data",
        "/data",
        "update",
        "forward",
        "/forward",
        "backward",
        "/backward",
        "optimizer",
        "/optimizer",
    ]
    assert [*expected, "/update"] == phases


def test_the_batch_is_normalised_floats(workload):
    """What `update_policy` gets: images as float, by lerobot's pre-processor."""
    image = workload.batch["observation.images.camera0"]
    assert image.dtype == torch.float32
    # Noise between 0 and 1, less a mean of one, by a deviation of one.
    assert -1 <= image.min()
    assert image.max() <= 0
    assert abs(image.mean() + 0.5) < 0.05


def test_the_optimizer_is_the_policys_preset(workload):
    """ACT trains its backbone with a learning rate of its own, AdamW and clipped gradients."""
    assert isinstance(workload.optimizer, torch.optim.AdamW)
    assert len(workload.optimizer.param_groups) == 2
    assert workload.grad_clip_norm == workload.config.get_optimizer_preset().grad_clip_norm


def test_overrides_reach_the_policy_and_no_weights_are_fetched(small_cell):
    """Any field of lerobot's config; pretrained weights change no size."""
    config = policy_config(replace(small_cell, overrides={"chunk_size": 7, "n_action_steps": 7}))
    assert (7, 7) == (config.chunk_size, config.n_action_steps)
    assert config.pretrained_backbone_weights is None
    assert policy_config(replace(small_cell, overrides={"use_amp": True})).use_amp


def test_use_amp_is_torchs_default_on_cuda(small_cell):
    """What a cell says of itself without torch is what `lerobot_train.train` asks torch for."""
    default = {torch.bfloat16: "bf16", torch.float16: "fp16"}[torch.get_autocast_dtype("cuda")]
    for cell, expected in (
        (replace(small_cell, overrides={"use_amp": True}), default),
        (replace(small_cell, overrides={"use_amp": True}, precision="bf16"), "bf16"),
        (small_cell, "fp32"),
    ):
        assert expected == autocast_of(cell)
        assert cell.overrides.get("use_amp", False) == policy_config(cell).use_amp


def test_every_file_with_a_spec_is_registered():
    """A policy is one file and its name in the registry, which is lerobot's."""
    files = sorted(Path(actprof.policies.__file__).parent.glob("*.py"))
    names = [file.stem for file in files if "\nSPEC = " in file.read_text()]
    assert tuple(names) == policy_names()
    assert names == [policy_spec(name).name for name in names]


@pytest.mark.parametrize("name", policy_names())
def test_a_spec_names_what_lerobot_and_a_cell_have(name):
    """Fields of its config, and changes that a cell can name."""
    spec, cell = policy_spec(name), Cell(policy=name)
    with outside_answered(cell, spec):
        known = set(policy_config(cell).__dataclass_fields__)
    assert known >= {*spec.fixed, *spec.sizeless}
    assert {read_change(change).needs for change in CHANGES} >= set(spec.parts)


def test_every_policy_says_where_to_look_inside_it():
    """The spec's modules exist in the policy, and its components come from its modules."""
    spec = policy_spec("act")
    assert "encoder" == find_component("model.encoder.layers.0", spec.components)
    assert "encoder" == find_component("model.encoder", spec.components)
    assert find_component("model.encoder_img_feat_input_proj.weight", spec.components) is None


def test_the_specs_modules_are_those_of_the_policy(workload):
    """A renamed module would be noticed here."""
    spec, modules = policy_spec("act"), dict(workload.policy.named_modules())
    for path in (spec.token_module, spec.output_module, *(prefix for prefix, _name in spec.components)):
        assert path in modules


def test_an_unknown_policy_names_the_known_ones():
    """A typo is a usage error."""
    with pytest.raises(UsageError, match="'atc' is not a policy"):
        policy_spec("atc")


@pytest.mark.parametrize(
    ("overrides", "said", "fields"),
    [
        ({"chunk_size": 50}, "Got 100 for `n_action_steps` and 50 .*; add --set n_action_steps=50$", None),
        ({"chunk_size": "abc"}, "chunk_size is 'abc'; lerobot's act config takes a whole number", None),
        ({"dim_model": True}, "dim_model is True; .* takes a whole number", None),
        ({"dropout": [0.1], "n_heads": 8}, "dropout is .0.1.; .* takes a number", ("dropout",)),
        ({"temporal_ensemble_coeff": "no"}, "takes a number or null", None),
        ({"chunck_size": 5}, "no field 'chunck_size'; did you mean chunk_size", None),
        ({"dim_model": 64, "n_heads": 3}, "lerobot refuses this policy: ", None),
    ],
)
def test_a_field_that_cannot_be_is_named_with_what_it_takes(overrides, said, fields):
    """No TypeError of Python's, and the fields travel with the error."""
    cell = Cell(overrides=overrides, resolution="64x64", gpu=None)
    with pytest.raises(FieldError, match=said) as caught:
        build_workload(cell, CPU)

    travelled = pickle.loads(pickle.dumps(caught.value))  # noqa: S301 - our own
    assert (str(caught.value), fields or tuple(overrides)) == (str(travelled), travelled.fields)
