"""Workspaces of cuBLAS and cuBLASLt."""

from dataclasses import replace

import pytest

from actprof.errors import UsageError
from actprof.hardware import cublas_workspace_bytes, find_gpu, library_workspaces
from actprof.hardware.workspaces import parse_workspace_config
from actprof.units import KIB, MIB


@pytest.mark.parametrize(
    ("gpu", "torch_version", "expected"),
    [
        ("T4", (2, 11), 8_519_680),
        ("RTX 3090", (2, 11), 8_519_680),
        ("RTX 3090", (2, 13), 8_519_680),
        ("H100", (2, 6), 33_554_432),
        ("H200", (2, 11), 33_554_432),
        ("RTX 5060 Ti", (2, 11), 8_519_680),
        ("RTX 5060 Ti", (2, 12), 33_554_432),
        ("B200", (2, 11), 8_519_680),
        ("B200", (2, 12), 33_554_432),
        ("Jetson AGX Thor", (2, 12), 8_519_680),
    ],
)
def test_hopper_has_the_large_workspace_and_blackwell_from_2_12(gpu, torch_version, expected):
    """Compute capability 9.x always, 10.x and 12.x from PyTorch 2.12 on."""
    assert expected == cublas_workspace_bytes(find_gpu(gpu), torch_version)


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (":4096:8", 32 * MIB),
        (":16:8", 128 * KIB),
        (":4096:2:16:8", 8_519_680),
        (":0:0", 0),
    ],
)
def test_the_environment_sets_the_workspace(config, expected):
    """`CUBLAS_WORKSPACE_CONFIG` holds pairs of KiB and count."""
    assert expected == parse_workspace_config(config)


def test_a_card_can_be_given_the_workspace_of_another():
    """As where it plays that one."""
    gpu = replace(find_gpu("H100"), cublas_workspace_bytes=8_519_680)

    assert 8_519_680 == cublas_workspace_bytes(gpu)


def test_a_setting_without_a_size_is_refused():
    """PyTorch would only warn and go on with its default."""
    with pytest.raises(UsageError) as caught:
        parse_workspace_config("4096")
    expected = "CUBLAS_WORKSPACE_CONFIG '4096' has no size; write pairs :SIZE_IN_KIB:COUNT, like :4096:8"
    assert expected == str(caught.value)


@pytest.mark.parametrize(
    ("torch_version", "expected"),
    [
        ((2, 6), (MIB, "call")),
        ((2, 8), (MIB, "call")),
        ((2, 9), (MIB, "handle")),
        ((2, 11), (MIB, "handle")),
        ((2, 12), (0, "shared")),
    ],
)
def test_cublaslt_went_from_temporary_to_kept_to_shared(torch_version, expected):
    """1 MiB per call up to 2.8, 1 MiB per handle and stream in 2.9 to 2.11, none of its own from 2.12."""
    spaces = library_workspaces(find_gpu("RTX 3090"), torch_version)
    assert expected == (spaces.cublaslt_bytes, spaces.cublaslt_lifetime)
