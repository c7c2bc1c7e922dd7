"""What single looks at a card add up to."""

from __future__ import annotations

import pytest

from actprof.measuring.card_use import DRIVER_BYTES, CardTally, Look, throttle_names

RUN, CHILD, STRANGER, HOST_ID, SECOND_HOST_ID = 10, 11, 20, 90, 91
RELATIONS = {RUN: "own", CHILD: "own", STRANGER: "other", HOST_ID: "unseen", SECOND_HOST_ID: "unseen"}


def used(idle, *looks):
    """Return the `CardUse` of (card bytes, processes) pairs, the first of which is the idle card."""
    tally = CardTally(lambda pid, _run: RELATIONS[pid])
    tally.idle(Look(card_bytes=idle[0], processes=idle[1]))
    for card_bytes, processes in looks:
        tally.add(Look(card_bytes=card_bytes, processes=processes), RUN)
    return tally.use()


def test_how_busy_the_card_is_is_told_of_the_last_looks():
    """Their mean, as a share; nothing where the driver does not say."""
    tally = CardTally(lambda _pid, _run: "own")
    tally.idle(Look(card_bytes=0, busy_percent=100))
    tally.add(Look(card_bytes=1), RUN)
    assert tally.use().busy_share is None
    for percent in (*[0] * 100, *[50] * 30, *[70] * 30):
        tally.add(Look(card_bytes=1, busy_percent=percent), RUN)
    assert 0.6 == tally.use().busy_share


def test_listed_processes_are_the_runs_own():
    """The run and its children are added look by look, and everybody else is another."""
    use = used(
        (30, {STRANGER: 20}),
        (90, {STRANGER: 20, RUN: 50}),
        (95, {STRANGER: 25, RUN: 40, CHILD: 15}),
        (60, {STRANGER: 30}),
    )

    assert (3, 55, 95, 30, 30) == (
        use.samples, use.process_bytes, use.card_bytes, use.others_bytes, use.idle_bytes
    )  # fmt: skip


def test_a_listed_process_overrules_every_guess():
    """Before the run is listed the card may grow, and a stranger of the host may come: neither counts."""
    use = used((10, {}), (500, {HOST_ID: 400}), (90, {HOST_ID: 30, RUN: 50}))

    assert (50, 400) == (use.process_bytes, use.others_bytes)


def test_the_last_look_at_the_run_is_kept():
    """Also when its highest moment is long gone, and when it has ended by the time of another look."""
    listed = used((30, {}), (99, {RUN: 80}), (80, {RUN: 50}), (30, {}))
    guessed = used((30, {}), (110, {}), (80, {}))

    assert (80, 50) == (listed.process_bytes, listed.last_bytes)
    assert (80, 50) == (guessed.process_bytes, guessed.last_bytes)


def test_a_process_of_the_host_that_comes_after_the_run_began_is_the_run():
    """In a container NVML lists the host's ids: the only newcomer is ours, with its bytes."""
    use = used((30, {STRANGER: 20}), (40, {STRANGER: 20}), (90, {STRANGER: 25, HOST_ID: 50}))

    assert (50, 25) == (use.process_bytes, use.others_bytes)


def test_a_process_of_the_host_that_was_there_before_is_another():
    """An unseen id of the idle card is no newcomer; what it grows is not ours."""
    use = used((30, {HOST_ID: 20}), (90, {HOST_ID: 40}))

    assert (40, 40) == (use.process_bytes, use.others_bytes)


@pytest.mark.parametrize(
    "looks",
    [
        [(90, {HOST_ID: 50, SECOND_HOST_ID: 20})],
        [(70, {HOST_ID: 50}), (90, {SECOND_HOST_ID: 70})],
        [(90, {STRANGER: None})],
    ],
    ids=["two newcomers", "one after the other", "no bytes told"],
)
def test_what_cannot_be_told_apart_is_no_figure(looks):
    """Two unknown newcomers, or others whose bytes nobody tells, leave the run's own at 0."""
    assert 0 == used((10, {}), *looks).process_bytes


def test_without_any_list_the_growth_of_the_card_is_the_run():
    """As long as the idle card holds no more than a driver reserves."""
    assert 80 == used((10, {}), (90, {}), (60, {})).process_bytes
    assert 0 == used((DRIVER_BYTES + 1, {}), (DRIVER_BYTES + 90, {})).process_bytes


def test_others_that_shrink_do_not_hide_the_run():
    """What another process gives back is added to the growth of the card."""
    assert 65 == used((30, {STRANGER: 20}), (80, {STRANGER: 5})).process_bytes


def test_a_run_that_already_holds_memory_is_no_part_of_the_idle_card():
    """Its listed bytes are taken off the first look."""
    tally = CardTally(lambda pid, _run: RELATIONS[pid])
    tally.idle(Look(card_bytes=70, processes={RUN: 50, STRANGER: 5}), RUN)
    tally.add(Look(card_bytes=90, processes={RUN: 70, STRANGER: 5}), RUN)

    use = tally.use()

    assert (20, 70, 5) == (use.idle_bytes, use.process_bytes, use.others_bytes)


def test_clocks_are_those_of_a_card_at_work():
    """Looks at which the card idles tell nothing about clocks; heat and reasons count always."""
    tally = CardTally(lambda pid, _run: RELATIONS[pid])
    for clock, heat, reasons in ((210, 40, 0x1), (1700, 60, 0x4), (1500, 70, 0x24), (None, None, 0)):
        tally.add(Look(card_bytes=1, sm_clock_mhz=clock, temperature_c=heat, reasons=reasons), RUN)

    use = tally.use()

    assert ((1500, 1700), 70) == (use.sm_clock_mhz, use.temperature_c)
    assert ("SW power cap", "SW thermal slowdown") == use.throttle_reasons


def test_no_look_is_no_use():
    """The idle card alone says nothing about the run."""
    assert used((30, {})) is None


def test_every_reason_has_a_name():
    """Idling is none, and a bit that nobody knows is told as it is."""
    assert () == throttle_names(0x1)
    assert ("HW slowdown", "reason 0x8000") == throttle_names(0x8009)
