"""What a command takes of the host's memory and of /dev/shm, and where that is too small."""

from __future__ import annotations

from dataclasses import replace

import pytest

from actprof.loading.host_memory import LIBRARIES, Loading, host_memory
from actprof.loading.machine_memory import MachineMemory
from actprof.policies import lerobot_versions, policy_names, policy_spec
from actprof.preflight_check import host_memory as room
from actprof.preflight_check.flag_table import tables_of
from actprof.preflight_check.host_memory import (
    HostNeed,
    fitting,
    host_facts,
    host_need,
    host_traps,
    run_loading,
)
from actprof.preflight_check.policy_inputs import Inputs
from actprof.preflight_check.training_run import TrainingRun
from actprof.training_command.command_line import CommandLine, parse_command_line
from actprof.units import GIB, MIB

RUN = TrainingRun(policy_type="act", repo_id="me/x", batch_size=8, steps=1, save_freq=1, start_method="spawn")
INPUTS = Inputs(resolutions=("640x480", "640x480"), raw="640x480", state_dim=6, action_dim=6)
COMMAND = CommandLine(text="", arguments=())
BATCH = 10 * MIB
LOADING = Loading(
    batch_size=1, columns=(BATCH,), workers=4, prefetch_factor=4, start_method="spawn", processes=1
)


def need_of(loading=LOADING, **there):
    """Return the need of a loader on a machine that has so much."""
    return HostNeed(need=host_memory(loading, ()), loading=loading, machine=MachineMemory(**there))


def names(need):
    return [trap.name for trap in host_traps(need)]


def test_a_machine_that_has_enough_has_no_traps():
    """To the byte; and where nothing is known of it, nothing is said."""
    need = need_of().need
    assert [] == names(need_of(free_bytes=need.total_bytes, shm_bytes=need.shm_bytes)) == names(need_of())
    assert ["shared_memory"] == names(need_of(shm_bytes=need.shm_bytes - 1))
    assert ["host_memory"] == names(need_of(free_bytes=need.total_bytes - 1))


@pytest.mark.parametrize(("there", "stops"), [(BATCH - 1, True), (BATCH, False), (64 * MIB, False)])
def test_shared_memory_that_does_not_hold_a_batch_stops_the_run(there, stops):
    """At the first one; else when several are ready at once."""
    (trap,) = host_traps(need_of(shm_bytes=there))
    assert stops is trap.stops
    assert "--shm-size=1g" in trap.text


def test_fewer_workers_are_said_that_fit():
    """Five batches fit into 64 MiB beside the one in hand."""
    (trap,) = host_traps(need_of(shm_bytes=64 * MIB))
    assert "--num_workers=4 --prefetch_factor=1." in trap.text


@pytest.mark.parametrize("batches", range(20))
def test_what_fits_is_at_most_so_many_batches_ahead(batches):
    """And as it is where all fit."""
    workers, ahead = fitting(LOADING, batches)
    assert workers * ahead <= batches
    assert (batches >= 16) is ((workers, ahead) == (4, 4))


def test_before_0_6_0_only_the_number_of_workers_can_change(monkeypatch):
    """There was no --prefetch_factor."""
    monkeypatch.setattr(lerobot_versions, "package_version", lambda _name: "0.5.1")
    assert (1, 2) == fitting(replace(LOADING, prefetch_factor=2), 3)


def test_weights_count_where_they_are_more_than_loading():
    """While the policy is built, before workers start."""
    need = replace(need_of(free_bytes=20 * GIB), weights_bytes=30 * GIB)
    assert ["host_memory"] == names(need)
    assert "while the policy is built" in host_facts(need)[0][1]


def test_decoders_that_stay_open_are_a_trap(monkeypatch):
    """Before 0.6.0, and where a variable says so; a hundred are not."""
    many = need_of(replace(LOADING, decoders=8390))
    assert ["decoders_stay_open"] == names(many)
    assert [] == names(need_of(replace(LOADING, decoders=100)))
    monkeypatch.setattr(lerobot_versions, "package_version", lambda _name: "0.5.1")
    (trap,) = host_traps(many)
    assert all(word in trap.text for word in ("lerobot 0.5.1", "8,390", "32.82 GiB", "pyav"))


@pytest.mark.parametrize(
    ("command", "size"),
    [
        ("docker run img lerobot-train", 64 * MIB),
        ("podman run --shm-size=2g img lerobot-train", 2 * GIB),
        ("docker run --shm-size 512m img lerobot-train", 512 * MIB),
        ("docker run --shm-size=1.5g img lerobot-train", 3 * GIB // 2),
        ("docker run --shm-size=0 img lerobot-train", 64 * MIB),
        ("docker run --ipc=host img lerobot-train", None),
        ("docker run -v /dev/shm:/dev/shm img lerobot-train", None),
        ("docker exec box lerobot-train", None),
        ("lerobot-train", None),
    ],
)
def test_the_shared_memory_of_a_container_is_read_of_its_command(command, size):
    """64 MiB where docker is not told."""
    assert size == parse_command_line(f"{command} --policy.type=act").shm_bytes


def test_this_machine_counts_only_where_the_run_is_here(monkeypatch):
    """And its /dev/shm not in a container."""
    monkeypatch.setattr(room, "machine_memory", lambda: MachineMemory(free_bytes=7, shm_bytes=5))
    loading = run_loading(RUN, COMMAND, None, INPUTS)
    boxed = replace(COMMAND, isolated=True, shm_bytes=64 * MIB)
    there = [
        host_need(RUN, command, loading, here=here).machine
        for command, here in ((COMMAND, True), (COMMAND, False), (boxed, True), (boxed, False))
    ]
    assert [(7, 5), (None, None), (7, 64 * MIB), (None, 64 * MIB)] == [
        (machine.free_bytes, machine.shm_bytes) for machine in there
    ]


def test_a_streamed_dataset_is_not_known():
    """It is said, and nothing is a trap."""
    streamed = replace(RUN, streaming=True)
    need = host_need(streamed, COMMAND, run_loading(streamed, COMMAND, None, INPUTS), here=False)
    assert [] == names(need)
    assert "not known" in host_facts(need)[0][1]


def test_torchcodec_decodes_where_nobody_says_otherwise():
    """It comes with lerobot; a flag counts."""
    pyav = replace(COMMAND, arguments=("--dataset.video_backend=pyav",))
    found = [
        room._decodes(replace(RUN, video_backend=backend), command)
        for backend, command in (("pyav", COMMAND), ("pyav", pyav), ("torchcodec", COMMAND))
    ]
    assert [True, False, True] == found


def test_the_history_of_each_policy_is_lerobots():
    """As `observation_delta_indices` of its config has it by default."""
    from actprof.policies.train_flags import policy_class

    table = tables_of("0.6.1")
    for name in policy_names():
        config = policy_class(name)
        values = table[name].defaults["policy"]
        fields = {key: value for key, value in values.items() if key in ("n_obs_steps", "horizon")}
        made = config.__new__(config)
        for key, value in {**values, **fields}.items():
            object.__setattr__(made, key, value) if key != "type" else None
        expected = made.observation_delta_indices
        assert len(expected or []) == policy_spec(name).history(values), name


def test_the_answer_tells_the_need(train):
    """In JSON: a batch of two cameras is bytes of lerobot 0.6, and a table shows it."""
    from actprof import api

    answer = api.preflight(train("--num_workers=2"), gpu="RTX 3090", remedies=False)
    need = answer.host.need
    assert 2 * 3 * 640 * 480 * 8 <= need.batch_bytes < 2 * 3 * 640 * 480 * 8 + 20 * MIB // 100
    assert 9 * need.batch_bytes <= need.shm_bytes < 9 * need.batch_bytes + MIB
    assert answer.to_json()["host_memory"]["need"]["workers"] == 2
    assert ["host memory", "in /dev/shm"] == [name for name, _ in host_facts(answer.host)]
    assert set(LIBRARIES) >= set(room._libraries(answer.run))
