"""GR00T N1.7: Cosmos-Reason2 with images in its text, and a diffusion transformer for each embodiment."""

from dataclasses import replace

import pytest
import torch
from small_qwen import HIDDEN, small_qwen3

from actprof.cell import Cell
from actprof.policies import groot
from actprof.policies.probe import parameter_table
from actprof.policies.workload import build_workload, import_lerobot
from actprof.trace.affine import fit
from actprof.trace.fake import fake_cuda
from actprof.trace.record import record
from actprof.trace.recorder import Recorder
from actprof.trace.sample_loops import without_sample_loops
from actprof.trace.values import FollowsValues

CELL = Cell(policy="groot", cameras=1, resolution="64x48", batch_size=2, task_tokens=3)
PLAIN = {"positional_embeddings": None, "num_attention_heads": 2, "dropout": 0.2, "final_dropout": True}
WIDTHS = {
    "model_type": "Gr00tN1d7",
    "select_layer": 2,
    "backbone_embedding_dim": HIDDEN,
    "hidden_size": 32,
    "input_embedding_dim": 32,
    "max_num_embodiments": 12,
    "vl_self_attention_cfg": {**PLAIN, "num_layers": 1, "attention_head_dim": HIDDEN // 2},
    "diffusion_model_cfg": {
        **PLAIN,
        "num_layers": 2,
        "attention_head_dim": 16,
        "norm_type": "ada_norm",
        "output_dim": 32,
        "interleave_self_attention": True,
    },
}


@pytest.fixture
def small(monkeypatch):
    """Make lerobot's GR00T a small one."""
    import_lerobot("groot")
    from lerobot.policies.groot import groot_n1_7
    from transformers import Qwen3VLConfig

    backbone = {key: value for key, value in small_qwen3().items() if key != "model_type"}
    monkeypatch.setattr(groot_n1_7, "_cosmos_reason2_qwen3_vl_config", lambda: Qwen3VLConfig(**backbone))
    monkeypatch.setattr(groot, "SPEC", replace(groot.SPEC, models={"nvidia/GR00T-N1.7-3B": WIDTHS}))


def learning(**overrides):
    """Return the components that have parameters that learn, and the bytes of one of all parameters."""
    with fake_cuda(), Recorder("cuda"), FollowsValues():
        workload = build_workload(replace(CELL, overrides=overrides), torch.device("cuda"))
    table = [row for row in parameter_table(workload.policy, groot.SPEC) if not row.is_buffer]
    sizes = {row.bytes // row.count for row in table}
    return {row.component for row in table if row.trainable}, sizes


def test_one_line_goes_through_recordings_of_all_batch_sizes(small):
    """Though its pre-processor and its frozen backbone loop over samples, images and grids in Python."""
    sizes = (2, 3, 5)
    recordings = [record(replace(CELL, batch_size=size)) for size in sizes]
    recorders = [each.recorder for each in recordings]
    assert fit(recorders, sizes) is None
    fitted = fit([without_sample_loops(each, groot.SPEC.sample_loops) for each in recorders], sizes)
    assert fitted["carried"] is not None
    assert (41, 132) == recordings[0].policy.output_shape


def test_its_images_take_64_tokens_each_beside_those_of_the_task(small):
    """Resized to 256x256, in patches of 16 of which four make a token; the rest is Qwen's chat."""
    recorder = record(CELL).recorder
    around_images, around_text = 2, 5
    tokens = 64 + around_images + CELL.task_tokens + around_text
    assert (2, tokens, HIDDEN) in {
        shape
        for shape, op in zip(recorder.shapes, recorder.tensor_ops, strict=True)
        if "language_model" in recorder.op_modules[op]
    }


def test_flags_say_what_learns(small):
    """By default the action head; layers of the language model, or the vision tower, if asked."""
    assert ({"action head"}, {4}) == learning()
    assert {"action head", "language model"} == learning(tune_top_llm_layers=1)[0]
    assert {"action head", "vision tower"} == learning(tune_visual=True)[0]
    assert ({"action head"}, {2}) == learning(model_params_fp32=False)


def test_a_vision_tower_that_learns_has_a_trace_for_each_batch_size(small):
    """What is saved of each image for its reverse pass grows in number with the batch."""
    cell = replace(CELL, overrides={"tune_visual": True})
    recorders = [record(replace(cell, batch_size=size)).recorder for size in (2, 3)]
    assert fit([without_sample_loops(each, groot.SPEC.sample_loops) for each in recorders], (2, 3)) is None
