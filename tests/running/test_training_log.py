"""lerobot's log of several versions, line by line."""

from __future__ import annotations

from pathlib import Path

import pytest

from actprof.running.training_log import Lines, LogLine, TrainingLog, settled
from actprof.units import GIB

OLD = (
    "INFO 2026-02-01 10:00:00 ot_train.py:435 step:200 smpl:2K ep:3 epch:0.10 loss:6.701 grdn:150.237 "
    "lr:1.0e-05 updt_s:0.182 data_s:0.003"
)
ON_CUDA = OLD + " smp/s:43 mem_gb:3.73"
COMING = (
    "INFO 2026-09-01 10:00:00 ot_train.py:769 step:200 smpl:2K ep:3 epch:0.10 loss:6.701 grdn:150.237 "
    "lr:1.0e-05 data_s:0.003 prep_s:0.010 updt_s:0.182 step_s:0.195 smp/s:41 mem_gb:3.73 l1_loss:0.500"
)
BAR = "Training:  50%|█████     | 100/200 [00:19<00:19,  5.40step/s]"


def reading(*texts):
    log = TrainingLog()
    for at, text in enumerate(texts):
        log.take(text, float(at))
    return log


@pytest.mark.parametrize(
    ("text", "data", "memory"),
    [
        pytest.param(OLD, 0.003, None, id="0.4.4 and 0.5.1"),
        pytest.param(ON_CUDA, 0.003, round(3.73 * GIB), id="0.6.0 and 0.6.1 on CUDA"),
        pytest.param(COMING, 0.013, round(3.73 * GIB), id="0.6.2"),
        pytest.param(f"\r{BAR}{ON_CUDA}", 0.003, round(3.73 * GIB), id="behind a progress bar"),
        pytest.param(f"\x1b[33m{ON_CUDA}\x1b[0m", 0.003, round(3.73 * GIB), id="coloured"),
        pytest.param(f"[rank0]: {ON_CUDA}", 0.003, round(3.73 * GIB), id="behind a launcher's prefix"),
    ],
)
def test_a_line_of_each_version_is_read(text, data, memory):
    """Update, data with preprocessing, and memory where it is logged."""
    expected = LogLine(step=200, at=0.0, update_seconds=0.182, data_seconds=data, memory_bytes=memory)
    assert [expected] == reading(text).lines


@pytest.mark.parametrize(
    "text",
    [
        "INFO step:200 smpl:2K ep:3 epch:0.10 ∑rwrd:1.000 success:50.0 eval_s:10.000",
        "INFO step 200: eval_loss=0.1234",
        "INFO Checkpoint policy after step 200",
        "wandb: step:200",
        "",
    ],
)
def test_other_lines_are_none_of_the_log(text):
    """Evaluation, checkpoints and what libraries print."""
    assert [] == reading(text).lines


def test_rounded_steps_are_counted():
    """`2K` is 1,600 and then 1,800, by lines of 200 steps each."""
    log = TrainingLog(settings={"log_freq": 200})
    printed = [200, 400, 600, 800, "1K", "1K", "1K", "2K", "2K", "2K"]
    for text in printed:
        log.take(OLD.replace("step:200", f"step:{text}"), 0.0)
    assert [200 * count for count in range(1, 11)] == [line.step for line in log.lines]


def test_a_resumed_run_counts_from_where_it_began():
    """By the progress bar, which counts the steps that are left; without one, from what is printed."""
    settings = {"log_freq": 200, "steps": 50_000}
    log = TrainingLog(settings=dict(settings))
    log.take("Training:   0%|          | 0/20000 [00:00<?, ?step/s]", 0.0)
    log.take(OLD.replace("step:200", "step:30K"), 1.0)
    log.take(OLD.replace("step:200", "step:30K"), 2.0)
    assert [30_200, 30_400] == [line.step for line in log.lines]

    log = TrainingLog(settings=dict(settings))
    log.take(OLD.replace("step:200", "step:30K"), 1.0)
    assert [30_000] == [line.step for line in log.lines]


def test_the_config_that_lerobot_prints_first_is_read():
    """Whole numbers of its outermost level, the policy's device, and where it writes."""
    printed = """INFO 2026-02-01 10:00:00 ot_train.py:272 {'batch_size': 8,
 'dataset': {'batch_size': 99,
             'episodes': None},
 'log_freq': 50,
 'num_workers': 4,
 'policy': {'chunk_size': 100,
            'device': 'cuda',
            'dim_model': 512},
 'save_checkpoint': True,
 'steps': 100000}
INFO 2026-02-01 10:00:09 ot_train.py:434 \x1b[1m\x1b[33mOutput dir:\x1b[0m outputs/train/my run"""
    log = reading(*printed.splitlines())
    assert {"batch_size": 8, "log_freq": 50, "num_workers": 4, "steps": 100_000} == log.settings
    assert ("cuda", Path("outputs/train/my run")) == (log.device, log.output_dir)


def test_the_first_line_counts_only_while_there_is_no_other():
    """In its steps workers start and plans are tried."""
    one, three = reading(OLD), reading(OLD, OLD, OLD)
    assert (one.lines, three.lines[1:]) == (settled(one.lines), settled(three.lines))


def test_without_lines_the_progress_bar_tells_steps_and_seconds():
    """Runs of fewer steps than `log_freq` log nothing else."""
    bar = "Training:  {}%|██▌  | {}/20 [00:{:02d}<00:30,  2.00s/step]"
    log = reading(*(bar.format(5 * done, done, 2 * done) for done in range(21)))
    assert (20, 20, 1.0) == (log.step, log.steps, log.seconds_per_step)


def test_cudas_message_is_kept_without_what_stands_before_it():
    """As PyTorch says it."""
    said = "CUDA out of memory. Tried to allocate 708.00 MiB. GPU 0 has a total capacity of 15.48 GiB"
    assert said == reading(f"torch.OutOfMemoryError: {said}").out_of_memory


def test_pieces_of_any_length_make_the_same_lines():
    """A pipe breaks where it likes."""
    text = f"{OLD}\n\r{BAR}\r{ON_CUDA}\nrest".encode()
    for size in (1, 7, len(text)):
        lines = Lines()
        found = [line for at in range(0, len(text), size) for line in lines.take(text[at : at + size])]
        assert [OLD, BAR, ON_CUDA, "rest"] == [*found, *lines.last()]
