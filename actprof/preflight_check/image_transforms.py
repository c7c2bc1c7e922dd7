"""The size of frames after lerobot's `dataset.image_transforms`.

lerobot draws `max_num_transforms` of them at random for each frame (`RandomSubsetApply`), so a resize holds
only where every transform is always drawn. Sizes follow `torchvision.transforms.v2`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

# Transforms of torchvision and of lerobot that leave the size, the channels and the type as they are.
_SAME_SIZE = {
    "AutoContrast", "CoarseDropout", "ColorJitter", "ElasticTransform", "GammaCorrection", "GaussianBlur",
    "GaussianNoise", "GaussianPatchBrightness", "Identity", "JPEG", "JPEGCompression", "MotionBlur",
    "PlanckianJitter", "RandomAdjustSharpness", "RandomAffine", "RandomAutocontrast",
    "RandomChannelPermutation", "RandomEqualize", "RandomErasing", "RandomHorizontalFlip",
    "RandomInvert", "RandomPerspective",
    "RandomPhotometricDistort", "RandomPosterize", "RandomShadow", "RandomSolarize", "RandomVerticalFlip",
    "SharpnessJitter",
}  # fmt: skip
_FIXED_SIZE = {"CenterCrop", "RandomCrop", "RandomResizedCrop"}


@dataclass(frozen=True, slots=True, kw_only=True)
class TransformedSize:
    """The size after the transforms, whether they change it, and why it cannot be told (or nothing)."""

    width: int
    height: int
    resized: bool = False
    unknown: str = ""


def transformed_size(width: int, height: int, transforms: Mapping[str, Any] | None) -> TransformedSize:
    """Return the size of frames of `width` and `height` pixels after lerobot's `dataset.image_transforms`.

    `transforms` is lerobot's config of them, None when they are off.
    """
    unknown = partial(TransformedSize, width=width, height=height, resized=True)
    if transforms is not None and not _is_complete(transforms):
        return unknown(unknown="the image transforms are not what lerobot can draw from")
    drawn = [item for item in ((transforms or {}).get("tfs") or {}).values() if item["weight"] > 0]
    resizing = [item for item in drawn if item["type"] not in _SAME_SIZE]
    if transforms is None or not resizing or transforms["max_num_transforms"] == 0:  # 0: none is drawn
        return TransformedSize(width=width, height=height)
    if transforms["max_num_transforms"] < len(drawn):
        return unknown(
            unknown=f"{resizing[0]['type']} is drawn for some frames only (max_num_transforms is "
            f"{transforms['max_num_transforms']} of {len(drawn)}), and frames of different sizes make no "
            "batch"
        )
    if transforms["random_order"] and len(resizing) > 1:
        return unknown(unknown="several image transforms change the size, in a random order")
    size = (width, height)
    for item in resizing:
        after = _size_after(size, item)
        if after is None:
            return unknown(unknown=f"actprof does not know what {item['type']} does to a frame's size")
        size = after
    return TransformedSize(width=size[0], height=size[1], resized=True)


def _is_complete(transforms: Mapping[str, Any]) -> bool:
    """Tell whether nothing is null that lerobot would stumble over."""
    items = (transforms.get("tfs") or {}).values()
    most = transforms.get("max_num_transforms")
    return type(most) is int and all(
        isinstance(item.get("weight"), int | float)
        and isinstance(item.get("type"), str)
        and isinstance(item.get("kwargs"), dict)
        for item in items
    )


def _size_after(size: tuple[int, int], item: Mapping[str, Any]) -> tuple[int, int] | None:
    wanted = item["kwargs"].get("size")
    if isinstance(wanted, list) and len(wanted) == 1:
        wanted = wanted[0]
    if isinstance(wanted, list) and len(wanted) == 2 and all(_is_length(side) for side in wanted):
        return (wanted[1], wanted[0]) if item["type"] in {*_FIXED_SIZE, "Resize"} else None
    if not _is_length(wanted):
        return None
    if item["type"] in _FIXED_SIZE:
        return wanted, wanted
    if item["type"] == "Resize" and "max_size" not in item["kwargs"]:
        short, long = sorted(size)
        scaled = int(wanted * long / short)
        return (wanted, scaled) if size[0] <= size[1] else (scaled, wanted)
    return None


def _is_length(value: Any) -> bool:
    return type(value) is int and value > 0
