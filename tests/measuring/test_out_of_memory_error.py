"""Reading PyTorch's out-of-memory message, and finding who asked."""

from __future__ import annotations

import pytest
import torch

from actprof.measuring.training_steps import describe_failure
from actprof.out_of_memory import OutOfMemoryError, out_of_memory_message, parse_message
from actprof.units import GIB, KIB, MIB

PUBLISHED = (
    "CUDA out of memory. Tried to allocate 708.00 MiB. GPU 0 has a total capacity of 15.48 GiB of which "
    "261.25 MiB is free. Including non-PyTorch memory, this process has 15.20 GiB memory in use."
)


def test_a_published_message_is_read():
    """The RTX 5060 Ti's words, as far as they were published."""
    assert {
        "tried": 708 * MIB,
        "total": round(15.48 * GIB),
        "free": round(261.25 * MIB),
        "process": round(15.2 * GIB),
    } == parse_message(PUBLISHED)


@pytest.mark.parametrize("allowed", [None, 3 * GIB])
def test_our_own_message_is_read_back(allowed):
    """Every size of the message, to the two decimals that it prints."""
    error = OutOfMemoryError(
        requested_bytes=76 * MIB, rounded_bytes=76 * MIB, segment_bytes=76 * MIB, allocated_bytes=2 * GIB,
        reserved_bytes=2 * GIB + 512 * KIB, allowed_bytes=allowed,
    )  # fmt: skip
    found = parse_message(out_of_memory_message(error, total_bytes=4 * GIB, context_bytes=GIB))

    assert (76 * MIB, 2 * GIB, 512 * KIB) == (found["tried"], found["allocated"], found["unused"])
    assert allowed == found.get("allowed")


class Hungry(torch.nn.Module):
    """Runs out in its forward."""

    def forward(self, _x):
        raise torch.OutOfMemoryError(PUBLISHED)


def test_the_innermost_module_is_named():
    """The path inside the policy of the module whose method stands innermost."""
    policy = torch.nn.Sequential(torch.nn.Sequential(Hungry()))
    with pytest.raises(torch.OutOfMemoryError) as caught:
        policy(None)

    found = describe_failure(caught.value, step=1, phase="forward", policy=policy)
    assert ("0.0", 708 * MIB, PUBLISHED) == (found.module, found.segment_bytes, found.message)


def test_outside_of_the_policy_no_module_is_named():
    """The engine's backward pass has no module on the stack, and a run that is set up no policy."""
    error = torch.OutOfMemoryError("something else")
    for policy in (None, torch.nn.Linear(1, 1)):
        found = describe_failure(error, step=0, phase="setup", policy=policy)
        assert ("", 0, 0) == (found.module, found.segment_bytes, found.reserved_bytes)
