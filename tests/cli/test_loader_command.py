"""`actprof loader` on results made by hand."""

from __future__ import annotations

import json

import pytest
from loader_made import make_result, make_row

from actprof import api
from actprof.progress import Progress


@pytest.fixture
def asked(monkeypatch):
    """Measure nothing, and keep what was asked."""
    seen = {}

    def measure_loader(**options):
        options["listener"](Progress(done=1, total=9, running=("video [x]",)))
        seen.update(options)
        return make_result()

    monkeypatch.setattr(api, "measure_loader", measure_loader)
    return seen


@pytest.mark.parametrize("columns", [80, 120])
@pytest.mark.usefixtures("asked")
def test_the_tables_keep_within_the_terminal(run, monkeypatch, columns):
    """Rates, parts, ratios, advice and reasons, no table line longer than the terminal."""
    monkeypatch.setenv("COLUMNS", str(columns))
    shown = run("loader", "--synthetic", "2x640x480", "--step-seconds", 0.47, "--step-batch-size", 32)
    lines = shown.out.splitlines()
    start = next(index for index, line in enumerate(lines) if line.startswith("Samples per second"))
    end = next(index for index, line in enumerate(lines) if line.startswith("What each change"))

    assert (0, "") == (shown.code, shown.err)
    tables = [line for line in lines[start:end] if not line.startswith("Files not")]
    assert max(map(len, tables)) <= columns
    flat = " ".join(shown.out.split())
    assert "resizing at record time 4.0 times faster" in flat
    assert "storing images 120 times slower" in flat
    assert "12.5 samples/s instead of 20" in flat
    assert "What keeps a step of 0.47 s with batch size 32 fed" in flat
    assert "not measured: video 640x480, torchcodec: torchcodec finds no FFmpeg libraries" in flat


def test_options_become_the_question(run, asked):
    """Lists, sizes, and lerobot's own spelling of the dataset."""
    assert 0 == run(
        "loader", "--dataset.repo_id", "me/pick", "--dataset.root", "data", "--batch-size", "8,32",
        "--workers", "0,2", "--backend", "pyav", "--resize", "none", "--seconds", 1,
    ).code  # fmt: skip
    assert ("me/pick", "data", None) == (asked["repo_id"], asked["root"], asked["synthetic"])
    assert ((8, 32), (0, 2), ("pyav",), "") == tuple(
        asked[name] for name in ("batch_sizes", "workers", "backends", "resize")
    )


@pytest.mark.usefixtures("asked")
def test_a_synthetic_dataset_is_resized_unless_told(run, asked):
    """To what ACT's backbone was made for."""
    run("loader", "--synthetic", "2x640x480")
    assert ((2, 640, 480), "224x224") == (asked["synthetic"], asked["resize"])


@pytest.mark.usefixtures("asked")
def test_results_are_kept_and_shown_again(run, tmp_path):
    """`--out` writes both files, and no store where there is no sweep; `--read` needs no measuring."""
    saved = run("loader", "--synthetic", "2x640x480", "--out", tmp_path)
    assert {"loader.json", "loader.html"} == {path.name for path in tmp_path.iterdir()}
    again = run("loader", "--read", tmp_path / "loader.json")
    assert saved.out == again.out
    as_json = run("loader", "--read", tmp_path / "loader.json", "--json")
    assert make_result().to_json() == json.loads(as_json.out)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--synthetic", "640x480"), "CAMERASxWIDTHxHEIGHT"),
        (("--synthetic", "0x64x64"), "CAMERASxWIDTHxHEIGHT"),
        (("--synthetic", "1x64x64", "--workers", "many"), "--workers 'many'"),
        (("--read", "missing.json"), "missing.json"),
        ((), "--repo-id"),
        (("--synthetic", "1x64x64", "--resize", "0x0"), "'0x0' is not WIDTHxHEIGHT"),
    ],
)
def test_what_cannot_be_read_is_a_usage_error(run, arguments, said):
    """The option and the remedy are named."""
    shown = run("loader", *arguments)
    assert 2 == shown.code
    assert said in shown.err


@pytest.mark.parametrize("option", ["--step-seconds", "--step-batch-size"])
def test_a_step_of_no_length_is_refused_before_anything_is_measured(run, asked, option):
    """Not minutes later, with the results lost."""
    shown = run("loader", "--synthetic", "1x64x64", option, "0")

    assert (2, {}) == (shown.code, asked)
    assert option in shown.err


def test_rows_with_workers_alone_say_nothing_of_other_numbers_of_workers(run, monkeypatch):
    """What to measure is said instead of nothing."""
    rows = (make_row(workers=2),)
    monkeypatch.setattr(api, "measure_loader", lambda **_options: make_result(rows=rows))
    shown = run("loader", "--synthetic", "2x640x480", "--step-seconds", "0.5")

    assert "measure without as well (--workers 0" in " ".join(shown.out.split())


@pytest.mark.usefixtures("asked")
def test_results_go_into_the_store_and_the_report_of_a_sweep(run, tmp_path, seed):
    """Whichever comes first; without a sweep there is no report to write."""
    seed(batch_size=8)
    scenario = tmp_path / "one.yaml"
    scenario.write_text("policy: act\nset: {chunk_size: 7}\ngpu: RTX 3090\nbatch_size: 8\n")
    folder = tmp_path / "out"

    assert "report.html" not in run("loader", "--synthetic", "2x640x480", "--out", folder).err
    assert 0 == run("sweep", scenario, "--no-cpu-check", "--mode", "predict", "--out", folder).code
    assert "Loading data" in (folder / "report.html").read_text(encoding="utf-8")
    (folder / "report.html").unlink()
    assert "report.html" in run("loader", "--synthetic", "2x640x480", "--out", folder).err.replace("\n", "")
    assert "4.0 times faster" in (folder / "report.html").read_text(encoding="utf-8")
