"""Changes run on real tensors: the lossless ones compute what the policy computes without them."""

from dataclasses import replace

import pytest
import torch

from actprof.cell import Cell
from actprof.errors import UsageError
from actprof.policies import smolvla
from actprof.policies.changes.accumulate_2 import accumulate_2
from actprof.policies.changes.fused_gemma_attention import fused_gemma_attention
from actprof.policies.workload import build_workload

CPU = torch.device("cpu")


@pytest.fixture
def gradients(small_cell):
    """Return a function: loss and gradients of one batch of the small ACT, the same for equal overrides."""

    def compute(*changes, **overrides):
        cell = replace(small_cell, batch_size=4, overrides={**small_cell.overrides, **overrides})
        torch.manual_seed(0)
        workload = build_workload(replace(cell, changes=changes), CPU)
        batch = {
            key: torch.rand_like(value) if value.is_floating_point() else torch.zeros_like(value)
            for key, value in _floats(next(workload.batch_stream)).items()
        }
        torch.manual_seed(1)
        loss, _ = workload.policy.forward(workload.preprocessor(batch))
        workload.accelerator.backward(loss)
        return loss.detach(), {name: p.grad for name, p in workload.policy.named_parameters()}

    return compute


def _floats(batch):
    return {k: v.float() if v.dtype == torch.uint8 else v for k, v in batch.items() if torch.is_tensor(v)}


@pytest.mark.parametrize("change", ["checkpoint_backbone", "checkpoint_encoder"])
def test_checkpointing_gives_the_same_bits(gradients, change):
    """Loss and every gradient are equal bit for bit, dropout included."""
    expected, loss = gradients(), gradients(change)

    assert torch.equal(expected[0], loss[0])
    assert [] == [n for n, g in expected[1].items() if g is not None and not torch.equal(g, loss[1][n])]
    assert [n for n, g in expected[1].items() if g is None] == [n for n, g in loss[1].items() if g is None]


@pytest.mark.parametrize(
    ("change", "overrides"),
    [
        ("fused_attention", {"dropout": 0.0}),
        ("channels_last", {}),
        # Each half draws its own latent noise, so there is none here.
        ("accumulate_2", {"dropout": 0.0, "use_vae": False}),
    ],
)
def test_lossless_changes_differ_by_rounding_alone(gradients, change, overrides):
    """Loss and every gradient agree to the accuracy of fp32 sums."""
    expected, found = gradients(**overrides), gradients(change, **overrides)

    torch.testing.assert_close(found[0], expected[0], rtol=1e-5, atol=1e-6)
    for name, gradient in expected[1].items():
        if gradient is None:
            assert found[1][name] is None
        else:
            scale = float(gradient.abs().max())
            torch.testing.assert_close(found[1][name], gradient, rtol=1e-4, atol=1e-4 * scale + 1e-9)


def test_fused_adamw_moves_the_parameters_alike(small_cell):
    """After two steps every parameter agrees to the accuracy of fp32."""

    def train(*changes):
        torch.manual_seed(0)
        workload = build_workload(replace(small_cell, changes=changes), CPU)
        torch.manual_seed(1)
        workload.step()
        workload.step()
        return workload.policy.state_dict()

    expected, found = train(), train("fused_adamw")
    for name, tensor in expected.items():
        torch.testing.assert_close(found[name], tensor, rtol=1e-5, atol=2e-6)


def test_a_frozen_backbone_has_no_gradients_and_the_same_loss(gradients):
    """Only what the backbone would have learnt is missing."""
    expected, found = gradients(), gradients("frozen_backbone")
    missing = {n for n, g in found[1].items() if g is None} - {n for n, g in expected[1].items() if g is None}

    assert torch.equal(expected[0], found[0])
    assert {"model.backbone"} == {".".join(name.split(".")[:2]) for name in missing}


def test_halves_are_not_made_where_no_gradients_are_wanted(small_cell):
    """An evaluation runs the batch whole."""
    workload = build_workload(replace(small_cell, batch_size=4, changes=("accumulate_2",)), CPU)
    batch = workload.preprocessor(_floats(next(workload.batch_stream)))
    with torch.no_grad():
        loss, _ = workload.policy.forward(batch)

    assert not loss.requires_grad
    assert all(p.grad is None for p in workload.policy.parameters())


@pytest.mark.parametrize("size", [1, 3, 5])
def test_the_last_batch_of_an_epoch_may_be_odd(size):
    """The loader keeps it: a single sample stays whole, and unequal parts count by their size."""
    weight = torch.tensor([1.0, 2.0, 4.0], requires_grad=True)
    batch = {"action": torch.rand(size, 3), "task": ["pick"] * size}

    class Policy:
        def forward(self, batch):
            return (batch["action"] * weight).square().mean(), {}

    def run(policy):
        weight.grad = None
        loss, _ = policy.forward(batch)
        loss.backward()
        return loss.detach(), weight.grad

    halved = Policy()
    accumulate_2(halved)
    torch.testing.assert_close(run(halved), run(Policy()))


def test_an_optimizer_without_a_fused_form_is_refused(small_cell, monkeypatch):
    """The change is named."""
    from lerobot.optim.optimizers import SGDConfig

    monkeypatch.setattr(SGDConfig, "build", lambda _self, params: torch.optim.Rprop(params))
    with pytest.raises(UsageError, match="Rprop has no fused implementation; leave out fused_adamw"):
        build_workload(replace(small_cell, optimizer="sgd", changes=("fused_adamw",)), CPU)


# -- attention that lerobot spells out --------------------------------------------------------------------


TEXT = {
    "hidden_size": 48, "intermediate_size": 64, "num_hidden_layers": 4, "head_dim": 16,
    "num_attention_heads": 3, "num_key_value_heads": 1,
}  # fmt: skip
VISION = {
    "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2,
    "image_size": 64,
}  # fmt: skip


@pytest.fixture
def small_smolvla(monkeypatch):
    """A cell of two layers and tiny widths, of one dtype as autocast's absence asks."""
    name, model = next(iter(smolvla.SPEC.models.items()))
    model = {
        **model,
        "text_config": {**model["text_config"], **TEXT, "torch_dtype": "float32"},
        "vision_config": {**model["vision_config"], **VISION},
    }
    monkeypatch.setattr(smolvla, "SPEC", replace(smolvla.SPEC, models={name: model}))
    overrides = {"num_vlm_layers": 2, "resize_imgs_with_padding": [64, 64]}
    return Cell(policy="smolvla", overrides=overrides, resolution="64x64", batch_size=2, gpu=None)


def compare(expected, found):
    """Losses and gradients agree to the accuracy of fp32 sums; each is a loss and gradients by name."""
    torch.testing.assert_close(found[0], expected[0], rtol=1e-5, atol=1e-6)
    assert expected[1].keys() == found[1].keys()
    for name, gradient in expected[1].items():
        scale = float(gradient.abs().max())
        torch.testing.assert_close(found[1][name], gradient, rtol=1e-4, atol=1e-4 * scale + 1e-9)


@pytest.mark.parametrize("trained", [{}, {"train_expert_only": False, "freeze_vision_encoder": False}])
def test_smolvlas_attention_gives_the_same_without_maps(small_smolvla, trained):
    """Where texts are padded, so that whole rows are masked; each layer, the expert's alone or all."""

    def compute(*changes):
        overrides = {**small_smolvla.overrides, **trained}
        torch.manual_seed(0)
        workload = build_workload(replace(small_smolvla, overrides=overrides, changes=changes), CPU)
        batch = next(workload.batch_stream)
        batch = workload.preprocessor({**batch, **_floats(batch)})
        batch["observation.language.attention_mask"][0, 5:] = False
        torch.manual_seed(1)
        loss, _ = workload.policy.forward(batch)
        workload.accelerator.backward(loss)
        grads = {n: p.grad for n, p in workload.policy.named_parameters() if p.grad is not None}
        return loss.detach(), grads

    torch.manual_seed(2)
    expected = compute()
    torch.manual_seed(2)
    found = compute("fused_expert_attention")
    assert any("lm_expert" in name for name in expected[1])
    assert bool(trained) == any("vision_model" in name for name in expected[1])
    compare(expected, found)


def test_gemmas_attention_gives_the_same_without_maps(monkeypatch):
    """In the layers of one policy; those of any other store their maps as before."""
    from transformers.models.gemma import modeling_gemma

    monkeypatch.setattr(modeling_gemma, "eager_attention_forward", modeling_gemma.eager_attention_forward)
    config = modeling_gemma.GemmaConfig(
        hidden_size=32, num_attention_heads=4, num_key_value_heads=1, head_dim=8
    )  # fmt: skip
    config._attn_implementation = "eager"
    ours, other = (modeling_gemma.GemmaAttention(config, 0) for _ in range(2))
    policy = torch.nn.Module()
    layer = torch.nn.Module()
    layer.self_attn = ours
    policy.layers = torch.nn.ModuleList([layer])
    query, key, value = (torch.randn(2, heads, 7, 8, requires_grad=True) for heads in (4, 1, 1))
    mask = torch.zeros(2, 1, 7, 7).masked_fill(torch.ones(7, 7).triu(1).bool(), -2.3819763e38)
    given = (query, key, value, mask, 0.3)

    def compute(module):
        for tensor in (query, key, value):
            tensor.grad = None
        out, maps = modeling_gemma.eager_attention_forward(module, *given)
        out.square().sum().backward()
        return (out.detach(), {str(n): t.grad for n, t in enumerate((query, key, value))}), maps

    expected, _ = compute(ours)
    fused_gemma_attention(policy, "layers")
    found, maps = compute(ours)
    assert maps is None
    compare(expected, found)
    assert compute(other)[1] is not None
    hidden = torch.randn(2, 7, 32)
    rotation = (torch.ones(2, 7, 8), torch.zeros(2, 7, 8))
    assert other(hidden, position_embeddings=rotation, attention_mask=mask)[1] is not None
