"""Random scenario files become a scenario or one clear message with file and line, never a traceback."""

from __future__ import annotations

import json
import re

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from actprof.claims.expectation import expected_cells
from actprof.claims.judge import evaluate
from actprof.errors import ScenarioError, TraceError
from actprof.out_of_memory import OutOfMemory
from actprof.results import GpuUse, Result
from actprof.scenario.loading import load_scenario

# What may stand at each key, the right thing first; anything else may stand there too.
GOOD = {
    "policy": ["act"],
    "set": ["{chunk_size: 50, n_action_steps: 50}", "{dim_model: 256}", "{}"],
    "cameras": ["1", "2"],
    "resolution": ["640x480", "96x64"],
    "batch_size": ["8", "64"],
    "state_dim": ["0", "6"],
    "optimizer": ["adamw", "preset"],
    "precision": ["bf16", "fp32"],
    "expandable_segments": ["true", "false"],
    "alloc_conf": ["max_split_size_mb:128"],
    "gpu": ["RTX 3090", "3090", "A100 80GB"],
    "capacity": ["20GiB"],
    "used_by_others": ["2.3GiB"],
    "changes": ["[fused_attention]", "[]"],
    "name": ["a-name", "on"],
    "cpu_check": ["false"],
}
AXES = {name: values for name, values in GOOD.items() if name not in ("set", "name", "cpu_check", "changes")}
FIELDS = {**AXES, "set.chunk_size": ["20", "50"], "set": ["{chunk_size: 20}"]}
EXPECTED = {
    "claim": ["words of somebody"],
    "verdict": ["oom", "fits or tight"],
    "parameters": ["51.6M ± 0.1M", "52M"],
    "parameters.encoder": ["17.3M"],
    "encoder_tokens": ["602", "{ratio_to: {resolution: 96x64}, expect: 6}", "at least 100"],
    "peak_allocated": ["< 13 GiB", "12 GiB .. 14 GiB"],
    "max_batch_size": [">= 32"],
    "share.encoder": ["more than 50 %"],
    "memory.encoder.attention maps": ["6 GiB"],
    "oom.segment": ["76 MiB"],
    "checkpoint": ["197 MB", "{ratio_to: {cameras: 1}, expect: 1}"],
    "backbones": ["2"],
}
STRANGE = ["", "null", "0", "-1", "1e9", "nan", "x", "[", "{}", "[]", "{a: 1}", "[[1]]", "~", "*b", "&a [*a]",
           "!!python/name:os.system", "'", "2024-01-01", "1_000", "0x10", "9" * 30, "8 GiB", "- 1", "<< 3",
           "{ratio_to: 3}", "{ratio_to: {gpu: none}, expect: 2}", "± 3", "3 ..", "é"]  # fmt: skip
KEYS = ["nonsense", "1", "null", "<<", "set.", "''", "batch-size", "at", "where", "exclude", "gpus"]


@st.composite
def lines(draw, known, indent, most=4):
    """Draw the lines of a mapping: mostly what is right, now and then a strange key or value."""
    names = draw(st.lists(st.sampled_from(sorted(known)), min_size=1, max_size=most, unique=True))
    rows = []
    for name in names:
        strange = draw(st.integers(0, 39))
        key = draw(st.sampled_from(KEYS)) if strange == 17 else name
        value = draw(st.sampled_from(STRANGE if strange == 23 else known[name]))
        rows.append(f"{indent}{key}: {value}\n")
    return "".join(rows)


@st.composite
def files(draw):
    """Draw the text of a scenario file, at times with one character of it changed."""
    parts = [draw(lines(GOOD, ""))]
    if draw(st.booleans()):
        axes = {name: [*values, f"[{', '.join(values)}]"] for name, values in AXES.items()}
        parts.append("sweep:\n" + draw(lines(axes, "  ")))
    if draw(st.integers(0, 4)) == 0:
        parts.append("exclude:\n  - " + draw(lines(FIELDS, "    ", 2)).lstrip())
    if draw(st.integers(0, 4)) == 0:
        gpu = {"capacity": ["11GiB"], "compute_capability": ["'8.6'"], "architecture": ["Ampere"]}
        parts.append("gpus:\n  My Card:\n" + draw(lines(gpu, "    ")))
    if draw(st.booleans()):
        parts.append("expect:\n")
        for _ in range(draw(st.integers(1, 3))):
            entry = draw(lines(EXPECTED, "    ", 3))
            if draw(st.booleans()):
                key = draw(st.sampled_from(["at", "where"]))
                entry += f"    {key}:\n{draw(lines(FIELDS, '      ', 2))}"
            parts.append("  - " + entry.lstrip())
    text = "".join(parts)
    if draw(st.integers(0, 9)) == 0:
        place = draw(st.integers(0, len(text) - 1))
        text = text[:place] + draw(st.sampled_from(["\t", "\x00", ":", "{", "\n", "- ", "#"])) + text[place:]
    return text


def predicted(cell):
    """Stand where a prediction would take its time; an odd number of cameras runs out."""
    oom = OutOfMemory(
        step=1, phase="forward", module="model", op="aten.mm.default", requested_bytes=2,
        segment_bytes=2 << 20, allocated_bytes=1, reserved_bytes=1, message="",
    )  # fmt: skip
    gpu = GpuUse(name="a GPU", capacity_bytes=1 << 34, context_bytes=0)
    out = cell.cameras % 2 == 1
    verdict = "oom" if out else "fits"
    return Result(source="predicted", cell=cell, gpu=gpu, verdict=verdict, oom=oom if out else None)


def no_facts(_cell):
    """Know nothing of a policy."""
    raise TraceError("nothing is traced here")


def load_or_refuse(file):
    """Return the scenario, or None where it is refused by file and line, with a reason."""
    try:
        return load_scenario(file)
    except ScenarioError as error:
        refusal = str(error)
    assert re.match(rf"{re.escape(str(file))}(:\d+)?: \S.{{8}}", refusal), refusal
    return None


def test_random_files(tmp_path):
    """Five hundred of them; what is read is also checked, as `actprof check` does."""
    file = tmp_path / "some.yaml"
    read = []

    @settings(max_examples=500, deadline=None, suppress_health_check=list(HealthCheck), database=None)
    @given(files())
    def try_out(text):
        file.write_text(text, encoding="utf-8")
        scenario = load_or_refuse(file)
        if scenario is None:
            return
        assert scenario.cells
        results = {cell.identity(): predicted(cell) for cell in expected_cells(scenario.expectations)}
        outcomes = evaluate(scenario.expectations, results, no_facts)
        assert len(scenario.expectations) == len(outcomes)
        json.dumps([outcome.actual for outcome in outcomes])
        read.append(len(outcomes))

    try_out()
    assert any(read), "the files are not all nonsense"
