"""Watching a card from a thread, on a stand-in for NVML."""

from __future__ import annotations

import os
import threading

import pytest
from fake_nvml import GIB, FakeGpu, FakeNvml

from actprof.measuring.watch_card import PATIENCE, THREAD_NAME, CardWatch

FAST = 1000.0


def threads():
    """Return the watchers that run."""
    return [thread for thread in threading.enumerate() if thread.name == THREAD_NAME]


@pytest.fixture(autouse=True)
def _nothing_is_left():
    """Every test ends without a watcher."""
    yield
    assert [] == threads()


def test_a_run_is_seen_from_idle_to_its_highest():
    """The card before the run, then the highest of the run, of the card and of others."""
    gpu = FakeGpu(used=GIB, processes={1: GIB // 2})
    nvml = FakeNvml(gpu)
    run: list[int] = []
    with CardWatch(0, lambda: run[0] if run else None, nvml=nvml, hertz=FAST) as watch:
        nvml.wait_for_looks(2)
        run.append(os.getpid())
        gpu.processes[os.getpid()] = 3 * GIB
        gpu.used, gpu.reasons = 4 * GIB, 0x4
        nvml.wait_for_looks(3)
        gpu.used, gpu.reasons, gpu.processes = 2 * GIB, 0, {1: GIB // 2, os.getpid(): GIB}
        nvml.wait_for_looks(2)

    use = watch.use()

    assert (3 * GIB, 4 * GIB, GIB // 2, GIB) == (
        use.process_bytes, use.card_bytes, use.others_bytes, use.idle_bytes
    )  # fmt: skip
    assert ((1700, 1700), 50, ("SW power cap",)) == (
        use.sm_clock_mhz, use.temperature_c, use.throttle_reasons
    )  # fmt: skip
    assert (False, 0) == (watch.gone, nvml.open)


def test_the_card_is_found_by_its_uuid():
    """The second card's memory is that of the second card."""
    nvml = FakeNvml(FakeGpu(), FakeGpu(uuid="GPU-1", used=7 * GIB))
    with CardWatch("GPU-1", os.getpid(), nvml=nvml, hertz=FAST) as watch:
        nvml.wait_for_looks(2)

    assert 7 * GIB == watch.use().card_bytes


@pytest.mark.parametrize("function", ["Init", "DeviceGetHandleByIndex", "DeviceGetMemoryInfo"])
def test_without_an_answer_there_is_no_use(function):
    """No driver, no such GPU, or a GPU that never told its memory: nothing was lost."""
    nvml = FakeNvml(fails={function: FakeNvml.NVML_ERROR_NOT_SUPPORTED})
    with CardWatch(0, os.getpid(), nvml=nvml, hertz=FAST) as watch:
        assert [] == threads()

    assert (None, False, 0) == (watch.use(), watch.gone, nvml.open)


def test_a_gpu_that_is_lost_before_the_run_is_gone():
    """NVML says so when the GPU is looked up."""
    nvml = FakeNvml(fails={"DeviceGetHandleByIndex": FakeNvml.NVML_ERROR_GPU_IS_LOST})
    with CardWatch(0, os.getpid(), nvml=nvml) as watch:
        pass

    assert (True, None, 0) == (watch.gone, watch.use(), nvml.open)


@pytest.mark.parametrize("function", ["DeviceGetMemoryInfo", "DeviceGetTemperature"])
@pytest.mark.parametrize("error", ["GPU_IS_LOST", "RESET_REQUIRED", "DRIVER_NOT_LOADED"])
def test_a_gpu_that_is_lost_during_the_run_is_gone(function, error):
    """Whatever was asked; what was seen until then is kept."""
    nvml = FakeNvml(FakeGpu(used=GIB))
    with CardWatch(0, os.getpid(), nvml=nvml, hertz=FAST) as watch:
        nvml.wait_for_looks(2)
        nvml.fails = {function: getattr(FakeNvml, f"NVML_ERROR_{error}")}
        threads()[0].join(30)
        assert watch.gone

    assert (GIB, 0) == (watch.use().card_bytes, nvml.open)


def test_a_gpu_that_stops_answering_is_gone():
    """An unknown error may pass; as many in a row as patience allows do not."""
    nvml = FakeNvml()
    memory, answers = (
        nvml.memory,
        iter([True] * 3 + [False] * (PATIENCE - 1) + [True] * 2 + [False] * PATIENCE),
    )

    def memory_of(gpu):
        if next(answers):
            return memory(gpu)
        raise FakeNvml.NVMLError(FakeNvml.NVML_ERROR_UNKNOWN)

    nvml.memory = memory_of
    with CardWatch(0, os.getpid(), nvml=nvml, hertz=FAST) as watch:
        threads()[0].join(30)

    assert (True, 4) == (watch.gone, watch.use().samples)
    assert [] == list(answers)


def test_what_a_driver_cannot_tell_is_left_out():
    """Without clocks, temperature, reasons and processes the card's memory is still watched."""
    names = [
        "DeviceGetClockInfo",
        "DeviceGetTemperature",
        "DeviceGetCurrentClocksEventReasons",
        "DeviceGetCurrentClocksThrottleReasons",
        "DeviceGetComputeRunningProcesses",
        "DeviceGetGraphicsRunningProcesses",
    ]
    nvml = FakeNvml(FakeGpu(used=GIB), fails=dict.fromkeys(names, FakeNvml.NVML_ERROR_NOT_SUPPORTED))
    with CardWatch(0, os.getpid(), nvml=nvml, hertz=FAST) as watch:
        nvml.wait_for_looks(2)

    use = watch.use()

    assert (GIB, (0, 0), 0, ()) == (use.card_bytes, use.sm_clock_mhz, use.temperature_c, use.throttle_reasons)


def test_an_older_driver_is_asked_by_the_older_name():
    """Reasons come from `...ThrottleReasons` where `...EventReasons` is not found."""
    nvml = FakeNvml(
        FakeGpu(reasons=0x40),
        fails={"DeviceGetCurrentClocksEventReasons": FakeNvml.NVML_ERROR_FUNCTION_NOT_FOUND},
    )
    with CardWatch(0, os.getpid(), nvml=nvml, hertz=FAST) as watch:
        nvml.wait_for_looks(2)

    assert ("HW thermal slowdown",) == watch.use().throttle_reasons


def test_a_run_that_fails_leaves_nothing_behind():
    """The error passes through, the thread has ended and NVML is closed."""
    nvml = FakeNvml()

    with pytest.raises(KeyError), CardWatch(0, os.getpid(), nvml=nvml, hertz=FAST):
        raise KeyError

    assert 0 == nvml.open


def test_a_run_that_never_starts_has_no_use():
    """Only the idle card was seen."""
    nvml = FakeNvml()
    with CardWatch(0, lambda: None, nvml=nvml, hertz=FAST) as watch:
        nvml.wait_for_looks(2)

    assert watch.use() is None


@pytest.mark.filterwarnings("error::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_watcher_that_breaks_says_nothing_of_the_gpu():
    """An error that is not NVML's ends the thread without a word; the GPU is not gone."""
    nvml = FakeNvml()
    pids = iter([None])
    with CardWatch(0, lambda: next(pids), nvml=nvml, hertz=FAST) as watch:
        threads()[0].join(30)

    assert (False, None, 0) == (watch.gone, watch.use(), nvml.open)


def test_a_driver_that_hangs_does_not_hold_the_run(monkeypatch):
    """Leaving does not wait for it: the GPU is gone, and the thread closes NVML when it comes back."""
    monkeypatch.setattr("actprof.measuring.watch_card.LEAVING_SECONDS", 0.01)
    nvml, hangs, inside = FakeNvml(), threading.Event(), threading.Event()
    memory = nvml.memory
    with CardWatch(0, os.getpid(), nvml=nvml, hertz=FAST) as watch:
        nvml.memory = lambda gpu: (inside.set(), hangs.wait(30), memory(gpu))[2]
        assert inside.wait(30)

    assert (True, 1) == (watch.gone, nvml.open)

    (thread,) = threads()
    hangs.set()
    thread.join(30)

    assert 0 == nvml.open


@pytest.mark.gpu
def test_the_real_nvml_sees_a_tensor_come():
    """What this process takes is seen as its own, or as the card's where NVML does not name it."""
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        pytest.skip("no CUDA GPU here")
    seen = threading.Event()
    with CardWatch(f"GPU-{torch.cuda.get_device_properties(0).uuid}", os.getpid(), hertz=100) as watch:
        tensor = torch.zeros(GIB, dtype=torch.uint8, device="cuda")
        torch.cuda.synchronize()
        seen.wait(1.0)

    use = watch.use()

    assert tensor.numel() <= use.card_bytes
    assert use.process_bytes == 0 or tensor.numel() <= use.process_bytes <= use.card_bytes
    assert not watch.gone


def test_after_the_answer_nothing_is_seen():
    """A process that ends gives its memory back bit by bit: the last look must not be at that."""
    gpu = FakeGpu(used=4 * GIB, processes={os.getpid(): 3 * GIB})
    nvml = FakeNvml(gpu)
    with CardWatch(0, os.getpid(), nvml=nvml, hertz=FAST) as watch:
        nvml.wait_for_looks(2)
        watch.stop()
        for thread in threads():
            thread.join(30)
        gpu.processes[os.getpid()] = GIB

    assert (3 * GIB, 3 * GIB) == (watch.use().process_bytes, watch.use().last_bytes)
