"""Commands of every policy: the cell of a run, where a pretrained config comes from, and what is refused."""

from __future__ import annotations

import json
from unittest import mock

import pytest

from actprof import api
from actprof.errors import UnknownAnswerError, UsageError
from actprof.policies import policy_names, policy_spec
from actprof.preflight_check.flag_table import flag_table
from actprof.preflight_check.training_run import training_run
from actprof.results import GpuUse, Result
from actprof.training_command.sharing import Sharing, lerobot_sharing

SHAPES = {"cameras": 2, "resolution": "640x480", "state_dim": 6, "action_dim": 6}
SMOLVLA = "--policy.path=lerobot/smolvla_base"
BASES = [(policy, base) for policy in policy_names() for base in policy_spec(policy).bases]


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    """Have a Hugging Face home of one's own, empty and without the Hub; answer without tracing."""

    def predicted(cell):
        gpu = GpuUse(name="it", capacity_bytes=1 << 34, context_bytes=0)
        return Result(source="predicted", cell=cell, gpu=gpu, verdict="fits", parameters=1)

    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("actprof.preflight_check.run_preflight.predict_cell", predicted)
    return tmp_path / "hf"


def ask(*flags, before=(), given=SHAPES):
    """Return the answer to a command."""
    words = [*before, "lerobot-train", *flags, "--dataset.repo_id=me/x", "--policy.push_to_hub=false"]
    return api.preflight(words, gpu="RTX 3090", remedies=False, **given)


def cell_of(*flags, **more):
    return ask(*flags, **more).result.cell


def names(answer):
    return [trap.name for trap in answer.traps]


@pytest.mark.slow
@pytest.mark.parametrize("policy", policy_names())
def test_every_policy_is_answered(policy):
    """From its type alone, or lerobot says what it is to start from."""
    if policy_spec(policy).needs_field:
        with pytest.raises(UsageError, match=r"start with --policy\.path=lerobot/"):
            ask(f"--policy.type={policy}")
    else:
        assert policy == cell_of(f"--policy.type={policy}").policy


@pytest.mark.slow
@pytest.mark.parametrize(("policy", "base"), BASES)
def test_a_well_known_base_needs_no_hub(policy, base):
    """Its config is written down, lerobot takes it, and that is said."""
    answer = ask(f"--policy.path={base}")
    assert policy == answer.result.cell.policy
    assert f"the config of {base} is the one that actprof has written down" in answer.assumptions
    assert "from_scratch" not in names(answer)


def test_smolvla_base_is_trained_in_bf16_with_padded_tasks():
    """As its config.json says; the defaults of lerobot are other ones."""
    answer = ask(SMOLVLA)
    assert [True, "max_length"] == [
        answer.result.cell.overrides[name] for name in ("load_vlm_weights", "pad_language_to")
    ]
    assert ["from_scratch"] == names(ask("--policy.type=smolvla"))


def test_an_unknown_repository_says_what_to_do():
    """It is not made up, and a folder of another machine is not taken for a repository."""
    with pytest.raises(UnknownAnswerError, match=r"hf download nobody/knows config\.json"):
        ask("--policy.path=nobody/knows")
    with pytest.raises(UnknownAnswerError, match="/no/where is not on this machine"):
        ask("--policy.path=/no/where")


def test_the_users_cache_comes_before_what_is_written_down(home):
    """That of the run: a variable of the command counts."""
    folder = home / "hub" / "models--lerobot--smolvla_base" / "snapshots" / "abc"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text('{"type": "smolvla", "chunk_size": 30, "n_action_steps": 30}')
    here = ask(SMOLVLA)
    elsewhere = ask(SMOLVLA, before=["HF_HOME=/nowhere"])

    assert [30, None] == [answer.run.overrides.get("chunk_size") for answer in (here, elsewhere)]
    assert "the config of lerobot/smolvla_base is the one in the Hugging Face cache" in here.assumptions


def test_lerobot_is_asked_once_and_other_flags_may_change():
    """What it said is kept for the flags that only it can read."""
    flags = (SMOLVLA, "--peft.r=8", "--rename_map={a: b}")
    ask(*flags, "--batch_size=2")
    with mock.patch("actprof.policies.train_command.read_train_command", side_effect=AssertionError):
        cell = cell_of(*flags, "--batch_size=5", "--steps=7")
        with pytest.raises(AssertionError):
            ask(SMOLVLA, "--peft.r=9")
    assert (5, {"r": 8}) == (cell.batch_size, cell.peft)


def test_an_adapter_needs_a_pretrained_policy():
    """Lerobot refuses it otherwise."""
    with pytest.raises(UsageError, match="training from scratch using PEFT"):
        ask("--policy.type=smolvla", "--peft.r=16")
    flags = ("--policy.type=pi05", "--policy.pretrained_path=lerobot/pi05_base", "--peft.r=16")
    assert {"r": 16} == cell_of(*flags, "--peft.method_type=LORA").peft


def test_a_dtype_decides_and_the_launcher_does_not():
    """The trap says so; a cell says it by the policy's field alone."""
    told = ["accelerate", "launch", "--num_processes=1", "--mixed_precision=bf16"]
    plain = ask("--policy.type=pi05", before=told)
    same = ask("--policy.type=pi05", "--policy.dtype=bfloat16", before=told)
    smolvla = ask(SMOLVLA, before=told)

    assert [("fp32", {}), ("fp32", {"dtype": "bfloat16"})] == [
        (answer.result.cell.precision, answer.result.cell.overrides) for answer in (plain, same)
    ]
    assert "bf16" == smolvla.result.cell.precision
    assert [True, False, False] == ["precision_ignored" in names(a) for a in (plain, same, smolvla)]
    assert "use_amp_ignored" in names(ask("--policy.type=pi05", "--policy.use_amp=true"))


CAMERA = {"dtype": "video", "shape": [480, 640, 3], "names": ["height", "width", "channels"]}
VECTOR = {"dtype": "float32", "shape": [6]}


@pytest.fixture
def dataset(tmp_path):
    """Return a function that writes a dataset's description and gives the flag that names it."""

    def write(*cameras, tasks=(), **more):
        features = {f"observation.images.{name}": {**CAMERA, "shape": shape} for name, shape in cameras}
        meta = tmp_path / "data" / "meta"
        meta.mkdir(parents=True, exist_ok=True)
        info = {"features": {**features, "observation.state": VECTOR, "action": VECTOR, **more}}
        (meta / "info.json").write_text(json.dumps(info))
        (meta / "tasks.jsonl").write_text("".join(json.dumps({"task": task}) + "\n" for task in tasks))
        return f"--dataset.root={meta.parent}"

    return write


LARGE, TALL = [480, 640, 3], [640, 480, 3]


def test_cameras_keep_their_own_sizes_and_order(dataset):
    """Three cameras of two shapes are three cameras, from a dataset or as given."""
    root = dataset(("a", LARGE), ("b", LARGE), ("c", TALL))
    sizes = "640x480,640x480,480x640"
    given = {**SHAPES, "cameras": 3, "resolution": sizes}
    cells = [cell_of("--policy.type=act", root, given={}), cell_of("--policy.type=act", given=given)]
    assert [(3, sizes)] * 2 == [(cell.cameras, cell.resolution) for cell in cells]


def test_a_dataset_without_cameras_may_have_an_environments_state(dataset):
    """A cell has both."""
    root = dataset(**{"observation.environment_state": {"dtype": "float32", "shape": [4]}})
    cell = cell_of("--policy.type=act", root, given={})
    assert (0, 4) == (cell.cameras, cell.environment_dim)


def test_cameras_of_other_names_are_refused_with_the_map_to_add(dataset):
    """As lerobot refuses them; with the map they are those of the policy."""
    root = dataset(("front", LARGE), ("wrist", LARGE))
    with pytest.raises(UsageError, match="add --rename_map=") as refused:
        ask(SMOLVLA, root, given={})
    added = str(refused.value).partition("add ")[2].replace("'", "")
    assert 2 == cell_of(SMOLVLA, root, added, given={}).cameras


@pytest.mark.parametrize(
    ("path", "flags", "cameras", "empty"),
    [
        (SMOLVLA, [], 2, None),
        (SMOLVLA, ["--policy.empty_cameras=1"], 2, 1),
        ("--policy.path=lerobot/pi05_base", [], 2, 1),
        ("--policy.path=lerobot/pi05_base", ["--policy.empty_cameras=1"], 2, 2),
    ],
)
def test_a_camera_that_the_dataset_lacks(path, flags, cameras, empty):
    """SmolVLA goes on without it up to `empty_cameras`; pi0.5 computes an empty image for it."""
    cell = cell_of(path, *flags)
    assert (cameras, empty) == (cell.cameras, cell.overrides.get("empty_cameras"))


def test_a_policy_that_needs_all_its_cameras_cannot_be_told(tmp_path):
    """ACT has no empty ones."""
    features = {
        f"observation.images.{name}": {"type": "VISUAL", "shape": [3, 480, 640]} for name in ("a", "b", "c")
    }
    (tmp_path / "config.json").write_text(json.dumps({"type": "act", "input_features": features}))
    answer = ask(f"--policy.path={tmp_path}")
    assert (3, "the pretrained policy has 3 cameras, and the dataset 2 of them") == (
        answer.exit_code, answer.reason,
    )  # fmt: skip


def test_a_config_may_hold_every_shape():
    """Without a dataset at hand those of the policy count, and given ones before them."""
    own, other = cell_of(SMOLVLA, given={}), cell_of(SMOLVLA, given={"cameras": 1, "resolution": "64x48"})
    assert [(3, "256x256", 6, 6), (1, "64x48", 6, 6)] == [
        (cell.cameras, cell.resolution, cell.state_dim, cell.action_dim) for cell in (own, other)
    ]


TASK = "Put the cube on the plate."


def test_the_longest_task_decides_where_texts_are_not_padded(dataset, home):
    """By the tokenizer in the cache; else by its letters, and that is said."""
    tokenizers = pytest.importorskip("tokenizers")
    root = dataset(("camera1", LARGE), tasks=["Go.", TASK])
    guessed = ask("--policy.type=smolvla", root, given={})
    padded = ask("--policy.type=smolvla", "--policy.pad_language_to=max_length", root, given={})
    folder = home / "hub" / f"models--{next(iter(policy_spec('smolvla').models)).replace('/', '--')}"
    (folder / "snapshots" / "abc").mkdir(parents=True)
    words = tokenizers.Tokenizer(tokenizers.models.WordLevel({"?": 0}, "?"))
    words.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    words.save(str(folder / "snapshots" / "abc" / "tokenizer.json"))
    counted = ask("--policy.type=smolvla", root, given={})

    assert [7, 0] == [answer.result.cell.task_tokens for answer in (counted, padded)]
    assert 7 < guessed.result.cell.task_tokens < len(TASK)
    assert ["counted by its letters" in "".join(a.assumptions) for a in (guessed, counted)] == [True, False]


def test_no_task_is_longer_than_the_policy_reads(dataset):
    """The rest is cut off."""
    root = dataset(("camera1", LARGE), tasks=[TASK * 20])
    assert 48 == cell_of("--policy.type=smolvla", root, given={}).task_tokens


@pytest.mark.usefixtures("act_flags")
def test_what_lerobot_configures_from_0_6_2_on_is_read():
    """Accumulation, a moving average, the accelerator's precision, and how several GPUs share."""
    defaults = flag_table("act").defaults
    newer = {
        **defaults, "dataset": {**defaults["dataset"], "repo_id": "me/x"}, "ema": {"enable": True},
        "accelerator": {"mixed_precision": "bf16", "gradient_accumulation": {"steps": 4}},
        "parallelism": {"dp_shard": 2},
    }  # fmt: skip
    run = training_run(newer, defaults)
    assert (4, True, "bf16", 2, Sharing(strategy="fsdp")) == (
        run.accumulate, run.ema, run.precision, run.shards, run.sharing,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("topology", "settings", "expected"),
    [
        ({}, {}, Sharing(strategy="ddp")),
        (
            {"dp_replicate": 2},
            {"ddp": {"find_unused_parameters": False, "gradient_as_bucket_view": True}},
            Sharing(strategy="ddp", find_unused_parameters=False, gradient_as_bucket_view=True),
        ),
        ({}, {"ddp": {"static_graph": True}}, "static_graph"),
        (
            {"dp_shard": -1},
            {"fsdp": {"reshard_after_forward": False, "wrap_modules": ["A", "B"]}},
            Sharing(strategy="fsdp", reshard_after_forward=False, wrap_modules=("A", "B")),
        ),
        ({"dp_shard": 2, "dp_replicate": 2}, {}, "HSDP"),
        ({"dp_shard": 2}, {"fsdp": {"cpu_offload": True}}, "offload"),
        ({"dp_shard": 2}, {"fsdp": {"min_num_params": 1}}, "min_num_params"),
        ({"dp_shard": 2}, {"fsdp": {"ignored_modules": "vae"}}, "ignored_modules"),
    ],
)
def test_lerobots_own_parallelism_is_read(topology, settings, expected):
    """What is not traced has a reason."""
    found = lerobot_sharing({"parallelism": {"dp_shard": 1, **topology}, "accelerator": settings})
    assert found == expected if isinstance(expected, Sharing) else expected in found.unsupported


def test_an_older_config_says_nothing_of_several_gpus():
    """The launcher does."""
    assert lerobot_sharing({}) is None
