"""cuDNN's backend API through ctypes: descriptors, their attributes, and the library itself.

Numbers are those of cudnn_graph_v9.h. Only what plans of convolutions need is here.
"""

from __future__ import annotations

import ctypes
import importlib.util
from enum import IntEnum
from functools import cache
from pathlib import Path
from typing import Any, Self

from actprof.versions import UNKNOWN, package_version

LEAST_VERSION = 90_800  # 9.8, the first that describes devices as JSON


class CudnnError(Exception):
    """cuDNN refused a call, or there is no cuDNN that answers without a GPU."""


class Kind(IntEnum):
    """`cudnnBackendDescriptorType_t`."""

    CONVOLUTION = 1
    ENGINE = 2
    ENGINE_CONFIG = 3
    HEURISTIC = 4
    PLAN = 5
    KNOB_CHOICE = 7
    FORWARD = 10
    WEIGHT_GRADIENT = 11
    IMAGE_GRADIENT = 12
    GRAPH = 15
    TENSOR = 17
    DEVICE = 38


class Attribute(IntEnum):
    """`cudnnBackendAttributeName_t`; those of the three operations follow their own scheme."""

    CONV_COMP_TYPE = 100
    CONV_MODE = 101
    CONV_DILATIONS = 102
    CONV_STRIDES = 103
    CONV_POST_PADDINGS = 104
    CONV_PRE_PADDINGS = 105
    CONV_SPATIAL_DIMS = 106
    HEURISTIC_MODE = 200
    HEURISTIC_GRAPH = 201
    HEURISTIC_RESULTS = 202
    HEURISTIC_DEVICE = 204
    CONFIG_ENGINE = 300
    CONFIG_KNOB_CHOICES = 302
    PLAN_CONFIG = 401
    PLAN_WORKSPACE_BYTES = 402
    PLAN_DEVICE = 407
    KNOB_TYPE = 600
    KNOB_VALUE = 601
    GRAPH_OPERATIONS = 801
    TENSOR_ALIGNMENT = 900
    TENSOR_DTYPE = 901
    TENSOR_DIMS = 902
    TENSOR_STRIDES = 903
    TENSOR_UID = 906
    ENGINE_INDEX = 1301
    ENGINE_NOTES = 1303
    DEVICE_JSON = 2702


class Type(IntEnum):
    """`cudnnBackendAttributeType_t`."""

    DTYPE = 1
    INT64 = 3
    FLOAT = 4
    CONV_MODE = 7
    HEURISTIC_MODE = 8
    KNOB = 9
    NOTE = 11
    DESCRIPTOR = 15
    CHAR = 24


_C_TYPES: dict[Type, Any] = {Type.INT64: ctypes.c_int64, Type.FLOAT: ctypes.c_float, Type.CHAR: ctypes.c_char}


@cache
def library() -> ctypes.CDLL:
    """Return libcudnn of the environment (`nvidia-cudnn-cu12`, `-cu13`), or of the system.

    Raises:
        CudnnError: there is none, or it is older than 9.8.
    """
    path = next(filter(None, (_in_environment(), "libcudnn.so.9")))
    try:
        found = ctypes.CDLL(str(path), mode=ctypes.RTLD_GLOBAL)
        found.cudnnGetVersion.restype = ctypes.c_size_t
    except (OSError, AttributeError) as error:
        raise CudnnError(f"there is no cuDNN to ask ({error})") from error
    if found.cudnnGetVersion() < LEAST_VERSION:
        raise CudnnError(f"cuDNN {found.cudnnGetVersion()} answers for no GPU that is not there; 9.8 does")
    return found


@cache
def installed_version() -> str:
    """Return cuDNN's version: of its package, without loading it, else what the library says.

    Raises:
        CudnnError: as `library`.
    """
    for package in ("nvidia-cudnn-cu13", "nvidia-cudnn-cu12"):
        if (found := package_version(package)) != UNKNOWN:
            return found
    return str(library().cudnnGetVersion())


def _in_environment() -> Path | None:
    try:
        spec = importlib.util.find_spec("nvidia.cudnn")
    except ModuleNotFoundError:
        return None
    folders = list(spec.submodule_search_locations or ()) if spec else []
    files = (Path(folder) / "lib" / "libcudnn.so.9" for folder in folders)
    return next((file for file in files if file.exists()), None)


class Descriptor:
    """One `cudnnBackendDescriptor_t`; what it refers to lives as long as it does.

    Raises:
        CudnnError: from every call that cuDNN refuses: a wrong attribute, or one that it has nothing for.
    """

    def __init__(self, kind: Kind) -> None:
        self._library = library()
        self._kind = kind
        self._pointer = ctypes.c_void_p()
        self._kept: list[Descriptor] = []
        self._check(self._library.cudnnBackendCreateDescriptor(int(kind), ctypes.byref(self._pointer)))

    def set(self, name: int, kind: Type, *values: Any) -> Self:
        """Set an attribute to one or more values; a text is a row of characters."""
        array: Any
        if kind == Type.DESCRIPTOR:
            self._kept += values
            array = (ctypes.c_void_p * len(values))(*(value._pointer for value in values))
        elif kind == Type.CHAR:
            array = ctypes.create_string_buffer(values[0].encode())
        else:
            array = (_C_TYPES.get(kind, ctypes.c_int) * len(values))(*values)
        pointer = ctypes.cast(array, ctypes.c_void_p)
        count = ctypes.c_int64(len(array))
        self._check(
            self._library.cudnnBackendSetAttribute(self._pointer, int(name), int(kind), count, pointer)
        )
        return self

    def finalize(self) -> Self:
        """Make the descriptor ready for use."""
        self._check(self._library.cudnnBackendFinalize(self._pointer))
        return self

    def numbers(self, name: int, kind: Type, most: int = 1) -> list[int]:
        """Return up to `most` numbers of an attribute."""
        array = (_C_TYPES.get(kind, ctypes.c_int) * most)()
        return [int(value) for value in array[: self._get(name, kind, array)]]

    def descriptors(self, name: int, kind: Kind, most: int | None = None) -> list[Descriptor]:
        """Return up to `most` descriptors of `kind` that an attribute holds; None asks how many there are."""
        count = self._get(name, Type.DESCRIPTOR, ()) if most is None else most
        made = [Descriptor(kind) for _ in range(count)]
        array = (ctypes.c_void_p * len(made))(*(one._pointer for one in made))
        return made[: self._get(name, Type.DESCRIPTOR, array)] if made else made

    def _get(self, name: int, kind: Type, array: Any) -> int:
        count = ctypes.c_int64()
        pointer = ctypes.cast(array, ctypes.c_void_p) if len(array) else None
        room = ctypes.c_int64(len(array))
        self._check(
            self._library.cudnnBackendGetAttribute(
                self._pointer, int(name), int(kind), room, ctypes.byref(count), pointer
            )
        )
        return min(count.value, len(array)) if len(array) else count.value

    def _check(self, status: int) -> None:
        if status:
            raise CudnnError(f"cuDNN answers {status} for a descriptor {self._kind.name}")

    def __del__(self) -> None:
        if getattr(self, "_pointer", None):
            self._library.cudnnBackendDestroyDescriptor(self._pointer)
