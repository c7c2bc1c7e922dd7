"""`gpus`, `params`, `schema`, and `sweep` with `report`."""

from __future__ import annotations

import json
from dataclasses import replace

from handmade import build_trace

from actprof.hardware import LocalGpu, all_gpus
from actprof.policies.facts import Parameter


def test_gpus_lists_all_and_marks_estimates(run, monkeypatch):
    """One row per GPU; the machine's own at the end."""
    monkeypatch.setenv("COLUMNS", "100")
    local = LocalGpu(
        index=0, name="My GPU", total_bytes=2**34, used_bytes=0, free_bytes=2**33, driver="595.84"
    )
    monkeypatch.setattr("actprof.measuring.nvml.local_gpus", lambda: (local,))
    shown = run("gpus").out

    assert all(gpu.name in shown for gpu in all_gpus())
    assert "23.69 GiB" in shown
    assert "~" in shown
    assert "this machine: GPU 0 My GPU, 8.00 GiB free of 16.00 GiB, driver 595.84" in shown


def test_one_gpu_comes_with_the_sources_of_its_figures(run):
    """`actprof gpus 3090` says where each figure is from."""
    shown = run("gpus", "3090").out

    assert "capacity_bytes: " in shown
    assert "RTX 4090" not in shown


def test_gpus_as_json_is_an_array(run):
    """For scripts."""
    assert [gpu.name for gpu in all_gpus()] == [gpu["name"] for gpu in json.loads(run("gpus", "--json").out)]


def test_the_schema_is_the_shipped_one(run):
    """What `actprof schema` prints is JSON and describes `sweep`."""
    assert "sweep" in json.loads(run("schema").out)["properties"]


def test_params_of_a_policy(run, seed):
    """The hand-made policy has no parameters, seven tokens, and a checkpoint of nothing."""
    seed()
    shown = run("params", "--set", "chunk_size=7")

    assert 0 == shown.code
    assert "7 encoder tokens" in shown.out
    assert 0 == json.loads(run("params", "--set", "chunk_size=7", "--json").out)["parameters"]


def test_a_sweep_leaves_store_table_and_report(run, seed, tmp_path, monkeypatch):
    """Files are written, the table is printed, a second run and `report` work from the store."""
    monkeypatch.chdir(tmp_path)
    seed()
    scenario = tmp_path / "small.yaml"
    scenario.write_text(
        "set: {chunk_size: 7}\nsweep:\n  batch_size: [8, 16]\n  expandable_segments: [false, true]\n"
    )
    first = run("sweep", scenario, "--no-cpu-check", "--jobs", 1)
    folder = tmp_path / "reports" / "small"

    assert 0 == first.code, first.err
    assert "4 runs: 4 fit\nfastest that fits: 640x480, 2 cameras, batch " in first.out
    assert "samples/s predicted, limited by " in first.out
    assert {"results.sqlite", "results.csv", "report.html"} <= {path.name for path in folder.iterdir()}
    assert first.out.splitlines()[-1].endswith("report.html")

    (folder / "report.html").unlink()
    assert 0 == run("report", folder).code
    assert (folder / "report.html").is_file()

    data = json.loads(run("sweep", scenario, "--no-cpu-check", "--json").out)
    assert (4, "small") == (len(data["results"]), data["scenario"])


def test_a_sweep_moves_to_another_gpu(run, seed, tmp_path, monkeypatch):
    """`--gpu` replaces the scenario's."""
    monkeypatch.chdir(tmp_path)
    seed()
    scenario = tmp_path / "small.yaml"
    scenario.write_text("set: {chunk_size: 7}\nbatch_size: 8\n")
    shown = run(
        "sweep", scenario, "--no-cpu-check", "--jobs", 1, "--gpu", "T4", "--json", "--out", tmp_path / "t4"
    )

    assert "T4" == json.loads(shown.out)["results"][0]["gpu"]["name"]


def test_a_scenario_that_is_wrong_says_where(run, tmp_path):
    """File, line, what, and what instead; exit code 2."""
    scenario = tmp_path / "wrong.yaml"
    scenario.write_text("# wrong\nbatch_size: 0\n")
    shown = run("sweep", scenario)

    assert 2 == shown.code
    assert "wrong.yaml:2: " in shown.err


def test_params_say_what_is_frozen_and_in_which_dtype(run, seed):
    """A column each for what is trained and what is not, a sum below, and the whole in JSON."""
    parts = (("vision tower", 1000, "bfloat16", False), ("action expert", 500, "float32", True))
    parameters = tuple(
        Parameter(path=name, component=name, count=count, bytes=4 * count, trainable=trained, dtype=dtype)
        for name, count, dtype, trained in parts
    )
    trace = build_trace()
    seed(trace=replace(trace, policy=replace(trace.policy, parameters=parameters, encoder_tokens=0)))
    shown = run("params", "--set", "chunk_size=7").out
    rows = {line.split("  ")[0].strip(): line.split() for line in shown.splitlines() if line.strip()}

    assert ["\u2013", "1,000", "3.91", "KiB", "bfloat16"] == rows["vision tower"][2:]
    assert ["500", "1.95", "KiB", "\u2013", "float32"] == rows["action expert"][2:]
    assert "1,500 parameters, 500 of them trained" in shown
    assert "tokens" not in shown
    data = json.loads(run("params", "--set", "chunk_size=7", "--json").out)
    assert [1000, 0] == [part["frozen"] for part in data["by_component"]]
