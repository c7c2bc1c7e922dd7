"""Real runs of policies other than ACT, small ones on the CPU: no Hub, their options, their lines."""

from __future__ import annotations

from dataclasses import replace

import pytest
from small_policies import DIFFUSION, SMOLVLA, shrink_smolvla

from actprof.cell import Cell
from actprof.errors import UsageError
from actprof.measuring.choose_device import Choice
from actprof.measuring.grounding import check_grounding, ground
from actprof.measuring.measure_cell import Run
from actprof.measuring.request import Request
from actprof.measuring.run_device import RunDevice
from actprof.measuring.source_lines import forward_functions
from actprof.measuring.worker import answer, make_build
from actprof.policies import policy_spec, smolvla
from actprof.policies.accelerator import no_phase
from actprof.trace.record import record_trace

ACT = {
    "dim_model": 64, "n_heads": 4, "dim_feedforward": 96, "n_encoder_layers": 2, "n_vae_encoder_layers": 1,
    "chunk_size": 10, "n_action_steps": 10,
}  # fmt: skip
LORA = {"r": 4, "target_modules": ["q_proj", "v_proj"]}


@pytest.fixture(autouse=True)
def _small(monkeypatch):
    shrink_smolvla(monkeypatch)


def measured(cell, steps=2):
    """Return the answer of a real run on the CPU, in this process."""
    request = Request(cell=cell, device_type="cpu", steps=steps)
    return answer(request, RunDevice(), make_build(request))


@pytest.mark.parametrize(
    "cell",
    [
        replace(DIFFUSION, ema=True, accumulate=2),
        SMOLVLA,
        replace(SMOLVLA, peft=LORA, overrides={**SMOLVLA.overrides, "load_vlm_weights": True}),
        replace(SMOLVLA, cameras=2, resolution="64x48,96x64"),
        Cell(overrides=ACT, cameras=1, resolution="64x64", environment_dim=5, batch_size=2, gpu=None),
    ],
    ids=["diffusion with EMA", "smolvla", "smolvla LoRA", "smolvla two cameras", "environment"],
)
def test_a_policy_runs_on_the_cpu_as_it_is_traced(cell):
    """With as many parameters, and live tensors that are counted."""
    found = measured(cell, steps=1)

    assert record_trace(cell).policy.parameter_count == found.parameters
    assert 1 == found.measurement.steps
    assert found.measurement.live_tensor_bytes > 4 * found.parameters / 2


def test_a_step_of_several_batches_has_the_seconds_of_all():
    """So that no part of it is longer than the whole."""
    found = measured(replace(DIFFUSION, accumulate=3), steps=1)
    run = found.measurement

    assert run.forward_seconds.low + run.backward_seconds.low <= found.step_seconds.low


@pytest.mark.parametrize("cell", [DIFFUSION, replace(SMOLVLA, peft=LORA)])
def test_a_grounding_agrees_with_the_trace(cell):
    """Parameters and output are those that were traced."""
    found = ground(cell)

    check_grounding(found, record_trace(cell).policy)
    assert 0 < found.forward_seconds < found.update_seconds


@pytest.mark.parametrize("cell", [DIFFUSION, SMOLVLA, replace(SMOLVLA, peft=LORA)])
def test_lines_are_those_of_the_policy_itself(cell):
    """An adapter around it has a forward that says nothing."""
    request = Request(cell=cell, device_type="cpu")
    workload = make_build(request)(no_phase)

    functions = forward_functions(workload.policy, policy_spec(cell.policy).line_modules)

    assert {f"lerobot.policies.{cell.policy}"} == {f.__module__.rpartition(".")[0] for f in functions}


def test_what_is_too_large_for_a_cpu_is_said(monkeypatch):
    """With what to do instead; nothing is started."""
    monkeypatch.setattr(smolvla, "SPEC", replace(smolvla.SPEC, grounded=False))
    run = Run(choice=Choice(type="cpu", reason="no NVIDIA GPU here"), launcher=pytest.fail)

    expected = (
        r"SmolVLA has billions .* on a CUDA GPU \(no NVIDIA GPU here\).*actprof predict --policy smolvla"
    )
    with pytest.raises(UsageError, match=expected):
        run.measure(SMOLVLA)
