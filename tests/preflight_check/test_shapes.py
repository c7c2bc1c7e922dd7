"""Shapes: from the dataset's description, through image transforms, to the policy."""

from __future__ import annotations

import json

import pytest

from actprof.errors import UsageError
from actprof.preflight_check.dataset_shapes import find_info, shapes_of
from actprof.preflight_check.image_transforms import transformed_size

CAMERA = {"dtype": "video", "shape": [480, 640, 3], "names": ["height", "width", "channels"]}
FEATURES = {
    "observation.images.front": CAMERA,
    "observation.state": {"dtype": "float32", "shape": [6]},
    "action": {"dtype": "float32", "shape": [7]},
}


def described(**more):
    return {"features": {**FEATURES, **more}}


def test_the_real_dataset_is_read_as_it_is(dataset_root):
    """Two cameras of width 640, six joints."""
    info, where = find_info("me/so101", str(dataset_root), None, {})
    shapes = shapes_of(info, where)
    assert ([(640, 480)] * 2, 6, 6) == (list(shapes.cameras.values()), shapes.state_dim, shapes.action_dim)
    assert where.endswith("meta/info.json")


def test_names_tell_which_side_is_first():
    """A dataset may keep channels first; no state is no error."""
    info = described(
        **{
            "observation.images.front": {
                **CAMERA,
                "shape": [3, 48, 64],
                "names": ["channels", "height", "width"],
            }
        }
    )
    del info["features"]["observation.state"]
    shapes = shapes_of(info, "info.json")
    assert ({"observation.images.front": (64, 48)}, 0, 7) == (
        shapes.cameras,
        shapes.state_dim,
        shapes.action_dim,
    )


def test_what_a_cell_cannot_say_is_told():
    """Depth is an input that no cell has."""
    depth = {**CAMERA, "shape": [480, 640, 1]}
    shapes = shapes_of(
        described(
            **{
                "observation.images.depth": depth,
                "observation.environment_state": {"dtype": "float32", "shape": [3]},
            }
        ),
        "x",
    )
    assert (("observation.images.depth has 1 channel",), 3) == (shapes.odd, shapes.environment_dim)


@pytest.mark.parametrize("folder", ["me/x", "hub/datasets--me--x/snapshots/abc"])
def test_lerobots_cache_is_looked_through(tmp_path, folder):
    """The plain folder of a repository, then its snapshots."""
    path = tmp_path / folder / "meta" / "info.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(described()))
    info, where = find_info("me/x", None, None, {"HF_LEROBOT_HOME": str(tmp_path)}, hub=False)
    assert (described(), str(path)) == (info, where)


def test_a_dataset_that_is_nowhere_says_where_it_was_looked_for(tmp_path):
    """Nothing is made up."""
    info, looked = find_info("me/x", None, None, {"HF_HOME": str(tmp_path)}, hub=False)
    assert None is info
    assert str(tmp_path / "lerobot" / "me" / "x") in looked


@pytest.mark.parametrize(
    "info", [{}, {"features": {}}, {"features": {"action": {"dtype": "float32", "shape": []}}}]
)
def test_another_file_is_refused(info):
    """The message says how to do without it."""
    with pytest.raises(UsageError, match="--cameras, --resolution"):
        shapes_of(info, "meta/info.json")


def transforms(*items, most=9, order=False):
    tfs = {
        str(index): {"weight": 1.0, "type": kind, "kwargs": kwargs}
        for index, (kind, kwargs) in enumerate(items)
    }
    return {"enable": True, "max_num_transforms": most, "random_order": order, "tfs": tfs}


SIZES = [
    ("Resize", {"size": [224, 320]}),
    ("Resize", {"size": 240}),
    ("Resize", {"size": [100]}),
    ("CenterCrop", {"size": 96}),
    ("RandomCrop", {"size": [96, 128]}),
    ("RandomResizedCrop", {"size": 112}),
    ("ColorJitter", {"brightness": 0.2}),
    ("RandomAffine", {"degrees": 5.0}),
]


@pytest.mark.parametrize(("width", "height"), [(640, 480), (480, 640), (333, 217)])
@pytest.mark.parametrize("item", SIZES, ids=str)
def test_sizes_are_torchvisions(item, width, height):
    """What is said of a size is what the transform does."""
    import torch
    from torchvision.transforms import v2

    kind, kwargs = item
    frame = getattr(v2, kind)(**kwargs)(torch.zeros(3, height, width, dtype=torch.uint8))
    size = transformed_size(width, height, transforms(item))
    assert (frame.shape[2], frame.shape[1], "") == (size.width, size.height, size.unknown)


@pytest.mark.parametrize(
    ("config", "said"),
    [
        (transforms(("Resize", {"size": 96}), ("ColorJitter", {}), most=1), "for some frames only"),
        (transforms(("Resize", {"size": 96}), ("CenterCrop", {"size": 9}), order=True), "random order"),
        (transforms(("ScaleJitter", {"target_size": [9, 9]})), "ScaleJitter"),
        (transforms(("Resize", {"size": 96, "max_size": 100})), "Resize"),
        ({"enable": True, "max_num_transforms": None, "tfs": {}}, "cannot"),
    ],
)
def test_a_size_that_cannot_be_told_is_not_guessed(config, said):
    """The reason is given."""
    assert said in transformed_size(640, 480, config).unknown or said == "cannot"


@pytest.mark.parametrize("config", [None, transforms(("Resize", {"size": 96}), most=0)])
def test_transforms_that_are_off_do_nothing(config):
    """So it is by default, and where none is drawn."""
    size = transformed_size(640, 480, config)
    assert (640, 480, False) == (size.width, size.height, size.resized)


@pytest.mark.parametrize(
    ("shape", "names"),
    [
        ([48, 64, 3], ["height", "width", "channels"]),
        ([48, 64, 3], ["height", "width", "rgb"]),
        ([48, 64, 3], None),
        ([3, 48, 64], ["channels", "height", "width"]),
        ([3, 48, 64], ["c", "h", "w"]),
        ([3, 48, 64], ["height", "width", "channels"]),
        ([3, 48, 64], None),
        (["48", "64", "3"], None),
    ],
)
def test_the_side_with_few_is_that_of_the_channels(shape, names):
    """Whatever the names say, as far as one has at most four."""
    camera = {**CAMERA, "shape": shape, "names": names}
    shapes = shapes_of(described(**{"observation.images.front": camera}), "info.json")
    assert ({"observation.images.front": (64, 48)}, ()) == (shapes.cameras, shapes.odd)


@pytest.mark.parametrize(
    ("key", "shape", "said"),
    [
        ("action", [2, 7], "action has the shape [2, 7] in info.json, and a policy takes one length"),
        ("action", [], "the shape []"),
        ("action", 7, "the shape 7"),
        ("observation.state", [1, 6], "observation.state has the shape [1, 6]"),
        ("observation.images.front", [480, 640], "takes three sizes, like [480, 640, 3]"),
        ("observation.images.front", None, "the shape None"),
    ],
)
def test_a_shape_that_no_policy_takes_is_named(key, shape, said):
    """With the dataset's file, and what to do."""
    feature = {**FEATURES[key], "shape": shape}
    with pytest.raises(UsageError) as refused:
        shapes_of(described(**{key: feature}), "info.json")
    assert said in str(refused.value)
    assert "--action-dim" in str(refused.value)


def test_a_pointer_of_git_lfs_is_named(tmp_path):
    """With the command that fetches the file."""
    (tmp_path / "meta").mkdir()
    (tmp_path / "meta" / "info.json").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\n")
    with pytest.raises(UsageError, match="git lfs pull"):
        find_info("me/x", str(tmp_path), None, {})
