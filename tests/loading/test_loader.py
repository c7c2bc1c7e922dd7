"""Planning and measuring data loading, once for real on a tiny dataset."""

from __future__ import annotations

import pytest

from actprof.errors import UsageError
from actprof.loading import measure as loader
from actprof.loading.measure import measure_loading
from actprof.loading.plan import Load, LoaderQuestion, SourceRequest, plan
from actprof.loading.rows import COLD, IMAGES, VIDEO, DatasetFacts, LoaderResult, LoaderRow, Source
from actprof.loading.synthetic import REPO_ID, Synthetic, write_dataset
from actprof.loading.time_source import SourceAnswer, load_source
from actprof.measurement import Spread
from actprof.processes.worker import WorkerError

ASKED = LoaderQuestion(synthetic=(2, 640, 480), resize="224x224")


def sources(question, cores=4):
    """Return what is planned, as texts."""
    return [str(item.source()) for item in plan(question, cores=cores)]


def test_what_a_run_does_today_comes_first_then_each_change():
    """Every way of loading that the three ratios need is there."""
    assert [
        "video 640x480, pyav",
        "video 640x480, torchcodec",
        "images 640x480",
        "video 640x480, pyav, resized to 224x224",
        "video 224x224, pyav",
        "video 224x224, torchcodec",
        "images 224x224",
    ] == sources(ASKED)


def test_a_dataset_that_is_there_is_not_recorded_anew():
    """Its own storage, every decoder, and a resize in the loader where one is asked for."""
    found = plan(LoaderQuestion(repo_id="me/pick", resize="224x224"), cores=2)
    assert [("pyav", ""), ("torchcodec", ""), ("pyav", "224x224")] == [
        (request.backend, request.resize) for request in found
    ]


@pytest.mark.parametrize(("cores", "counts"), [(1, [0, 1]), (2, [0, 1, 2]), (6, [0, 1, 2, 4, 6])])
def test_workers_are_powers_of_two_and_the_cores(cores, counts):
    """For the first source, which is also measured cold; others have fewer, so that a run stays short."""
    first, second, *others = plan(ASKED, cores=cores)
    assert counts == [load.workers for load in first.loads if load.cache != COLD]
    assert COLD == first.loads[0].cache
    assert [0, counts[-1]] == [load.workers for load in second.loads]
    assert all([0] == [load.workers for load in item.loads] for item in others)


def test_workers_that_are_asked_for_are_measured_everywhere():
    """With every batch size."""
    question = LoaderQuestion(synthetic=(1, 64, 64), workers=(0, 3), batch_sizes=(2, 4))
    loads = [
        [(it.batch_size, it.workers) for it in item.loads if it.cache != COLD]
        for item in plan(question, cores=2)
    ]
    assert [[(2, 0), (2, 3), (4, 0), (4, 3)]] * 3 == loads


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({}, "not both"),
        ({"repo_id": "me/pick", "synthetic": (1, 64, 64)}, "not both"),
        ({"repo_id": "me/pick", "backends": ("cv2",)}, "pyav and torchcodec"),
        ({"repo_id": "me/pick", "storages": ("zarr",)}, "video and images"),
        ({"repo_id": "me/pick", "batch_sizes": (0,)}, "1 or more"),
        ({"repo_id": "me/pick", "workers": (-1,)}, "0 or more"),
        ({"repo_id": "me/pick", "seconds": 0}, "above zero"),
        ({"repo_id": "me/pick", "resize": "0x0"}, "'0x0' is not WIDTHxHEIGHT"),
        ({"repo_id": "me/pick", "resize": "small"}, "'small' is not WIDTHxHEIGHT"),
        ({"repo_id": "me/pick", "prefetch_factor": 0}, "prefetch factor of 0"),
        ({"repo_id": "me/pick", "start_method": "clone"}, "'clone'"),
    ],
)
def test_a_question_that_cannot_be_is_refused(fields, said):
    """With what there is instead."""
    with pytest.raises(UsageError, match=said):
        LoaderQuestion(**fields)


@pytest.fixture
def _no_datasets(monkeypatch, tmp_path):
    """Write no dataset."""
    monkeypatch.setattr(loader, "synthetic_dataset", lambda _what, **_options: tmp_path)


@pytest.mark.usefixtures("_no_datasets")
def test_a_source_that_dies_becomes_rows_with_the_reason(monkeypatch):
    """The others are measured all the same."""

    def ask(_conditions, _function, request):
        raise WorkerError(f"{request.backend or 'images'} was killed")

    monkeypatch.setattr(loader, "call_alone", ask)
    result = measure_loading(LoaderQuestion(synthetic=(1, 64, 64), workers=(0,), backends=("pyav",)))
    assert {"pyav was killed", "images was killed"} == {row.reason for row in result.rows}
    assert all(row.sample_seconds is None for row in result.rows)


@pytest.mark.usefixtures("_no_datasets")
@pytest.mark.parametrize("helps", [True, False])
def test_torchcodec_is_lent_the_libraries_of_pyav(monkeypatch, tmp_path, helps):
    """Where they help, the note says how training gets them; where they do not, the reason stays."""
    seen = []

    def ask(conditions, _function, _request):
        seen.append(conditions.environment.get("LD_LIBRARY_PATH", ""))
        lent = str(tmp_path) in seen[-1]
        return SourceAnswer() if lent and helps else SourceAnswer(refused="no FFmpeg" if not lent else "no")

    monkeypatch.setattr(loader, "call_alone", ask)
    monkeypatch.setattr(loader, "lend_ffmpeg", lambda _folder: tmp_path)
    monkeypatch.delenv("LD_LIBRARY_PATH", raising=False)
    question = LoaderQuestion(synthetic=(1, 64, 64), workers=(0,), backends=("torchcodec",))
    result = measure_loading(question)
    assert ["", str(tmp_path)] == seen[:2]
    if helps:
        assert any(f"export LD_LIBRARY_PATH={tmp_path}" in note for note in result.notes)
    else:
        assert {"no FFmpeg"} == {row.reason for row in result.rows}


def test_a_folder_without_a_dataset_is_refused(tmp_path):
    """Before lerobot makes one and asks the Hub."""
    with pytest.raises(UsageError, match=r"no meta/info\.json"):
        measure_loading(LoaderQuestion(repo_id="me/pick", root=str(tmp_path)))


def test_a_refused_decoder_has_the_size_that_another_found(monkeypatch):
    """Its own process never opened the dataset."""
    video = Source(storage=VIDEO, width=64, height=48, backend="pyav")
    facts = DatasetFacts(storage=VIDEO, width=64, height=48, cameras=1, frames=9, episodes=1, fps=30)
    row = LoaderRow(source=video, batch_size=8, workers=0, batch_seconds=Spread.of([1.0]))

    def ask(_conditions, _function, request):
        refused = request.backend == "torchcodec"
        return SourceAnswer(refused="no") if refused else SourceAnswer(rows=(row,), facts=facts)

    monkeypatch.setattr(loader, "call_alone", ask)
    monkeypatch.setattr(loader, "lend_ffmpeg", lambda _folder: None)
    result = measure_loading(LoaderQuestion(repo_id="me/pick", workers=(0,)))
    assert ["video 64x48, pyav", "video 64x48, torchcodec"] == [str(source) for source in result.sources]


def test_a_real_video_is_written_and_loaded(monkeypatch, tmp_path):
    """Two small cameras, by pyav, without workers and with one, each in its processes."""
    monkeypatch.setenv("ACTPROF_CACHE_DIR", str(tmp_path))
    told = []
    question = LoaderQuestion(
        synthetic=(2, 64, 64), storages=(VIDEO,), workers=(0, 1), batch_sizes=(2,), backends=("pyav",),
        overrides={"chunk_size": 4, "n_action_steps": 4}, seconds=0.2,
    )  # fmt: skip
    result = measure_loading(question, listener=told.append)

    video = Source(storage=VIDEO, width=64, height=64, backend="pyav")
    assert [] == [row.reason for row in result.rows if row.reason]
    assert (video,) == result.sources
    for row in (result.row(video), result.row(video, workers=1), result.row(video, cache=COLD)):
        assert row.batch_seconds.low <= row.batch_seconds.median <= row.batch_seconds.high
    loaded = result.row(video, workers=1)
    assert loaded.memory.shm_bytes == loaded.predicted_memory.shm_bytes > 0
    assert 1 == len(loaded.memory.workers_bytes)
    assert 0 == result.row(video).memory.shm_bytes
    assert result.row(video).frames_decoded >= 2
    assert {"rows", "open", "seek", "decode", "convert", "collate"} <= result.row(video).stages.keys()
    assert [(2, 120)] == [(facts.cameras, facts.frames) for facts in result.datasets]
    assert result == LoaderResult.from_json(result.to_json())
    assert {(0, 3)} == {(state.done, state.total) for state in told}


def test_stored_images_are_decoded_for_every_action_of_a_chunk(monkeypatch, tmp_path):
    """Those of the four rows of the chunk beside the sample's own, unless actions are read alone."""
    from datasets import config

    monkeypatch.setattr(config, "HF_DATASETS_CACHE", tmp_path / "arrow")
    what = Synthetic(cameras=2, width=64, height=64, storage=IMAGES, episodes=1, frames=8)
    write_dataset(what, str(tmp_path / "images"))
    request = SourceRequest(
        repo_id=REPO_ID, root=str(tmp_path / "images"), seconds=0.1,
        overrides={"chunk_size": 4, "n_action_steps": 4}, loads=(Load(batch_size=2, workers=0),),
    )  # fmt: skip
    as_it_is, alone = load_source(request).rows

    assert (False, 2 * (1 + 4)) == (as_it_is.source.actions_alone, as_it_is.frames_decoded)
    assert (True, 2) == (alone.source.actions_alone, alone.frames_decoded)
    assert as_it_is.cpu_seconds > 0


def test_a_policy_with_a_history_decodes_its_frames(monkeypatch, tmp_path):
    """Diffusion's two frames of each camera; stored images also for actions, unless these are read alone."""
    from datasets import config

    monkeypatch.setattr(config, "HF_DATASETS_CACHE", tmp_path / "arrow")
    frames, alone = {}, {}
    for storage in (VIDEO, IMAGES):
        what = Synthetic(cameras=2, width=64, height=64, storage=storage, episodes=1, frames=12)
        write_dataset(what, str(tmp_path / storage))
        request = SourceRequest(
            repo_id=REPO_ID, root=str(tmp_path / storage), seconds=0.1, policy="diffusion",
            overrides={"horizon": 8, "n_action_steps": 4}, backend="pyav" if storage == VIDEO else "",
            loads=(Load(batch_size=2, workers=0),),
        )  # fmt: skip
        answer = load_source(request)
        frames[storage], *others = (row.frames_decoded for row in answer.rows)
        alone[storage] = others
        assert (8, 2) == (answer.chunk_size, answer.frames)

    assert frames[VIDEO] >= 2 * 2
    assert [2 * (1 + 2)] == alone[IMAGES]
    assert frames[IMAGES] > 2 * (1 + 2)
