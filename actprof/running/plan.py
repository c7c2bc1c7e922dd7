"""What is run: the command as it is, or made to fit, with the pre-flight of exactly that command.

A run without CUDA takes no GPU memory: nothing refuses it, and nothing is made to fit. What its step would
take on a GPU is predicted all the same, to stand beside what is measured.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import PurePath

from actprof.advice.combinations import reach
from actprof.advice.offer import CODE, DATA, Offer
from actprof.advice.remedies import offers
from actprof.advice.suggest import suggest
from actprof.cell import Cell
from actprof.errors import ActprofError, UnknownAnswerError, UsageError
from actprof.measuring.nvml import usable_gpus
from actprof.policies.changes import LOSSLESS
from actprof.prediction.predict import predict_cell
from actprof.preflight_check.dataset_shapes import find_info, shapes_of
from actprof.preflight_check.preflight import Preflight
from actprof.preflight_check.run_preflight import run_preflight
from actprof.results import Verdict
from actprof.running.edit_command import Words, words_of
from actprof.training_command.command_line import CommandLine, Given, parse_command_line

# A GPU on which everything fits, to predict a run that will not be on one: no card is meant.
_ANY_GPU = "1024GiB"
_NOTHING: tuple[Offer, ...] = ()
_ON_GPU = {"ACCELERATE_USE_CPU": "false"}


class NoFitError(ActprofError):
    """Nothing that may be changed makes the run fit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A command that is run.

    Attributes:
        words: as it is run.
        answer: the pre-flight of it; of a run without CUDA, of what it would be on a GPU. None: not known.
        without_cuda: why it takes no memory of a GPU, in a sentence; or empty.
        changed: flags and variables that are not as they were given.
        said: of them, in a sentence; of `--fit` that changed nothing, why.
        problem: the error that the pre-flight ended with, where the command is run all the same.
    """

    words: Words
    answer: Preflight | None = None
    without_cuda: str = ""
    changed: tuple[str, ...] = ()
    said: str = ""
    problem: str = ""

    @property
    def exit_code(self) -> int:
        """The pre-flight's: 0 it runs, 1 it runs out of memory, 3 it cannot be told."""
        return 0 if self.answer is None or self.without_cuda else self.answer.exit_code


def make_plan(
    command: Sequence[str], given: Given, *, fit: bool = False, target_batch: int | None = None
) -> Plan:
    """Return what is run for `command`.

    Args:
        command: its words, or one text for a shell.
        given: what it does not say itself.
        fit: make the batch size the largest that surely fits.
        target_batch: make this batch size fit, by the cheapest lossless flags and variables.

    Raises:
        UsageError: lerobot would refuse it, or it cannot be changed as asked.
        UnknownAnswerError: nobody knows what fits.
    """
    line = parse_command_line(command)
    plan = Plan(words=words_of(command))
    asks = fit or target_batch is not None
    is_elsewhere = bool(line.elsewhere or line.flavour) or any("--job.target" in it for it in line.arguments)
    is_named = given.gpu is not None or given.capacity is not None or is_elsewhere
    no_gpu = not is_named and not usable_gpus(line.seen_environment())
    anywhere = replace(given, capacity=_ANY_GPU) if no_gpu else given
    if why := _told_device(line):
        return _without_cuda(plan, why, _on_a_gpu(line, anywhere), asks=asks)
    answer = run_preflight(line, anywhere, remedies=not asks)
    if why := _why_without_cuda(answer, no_gpu=no_gpu):
        there = answer if answer.result is not None else _on_a_gpu(line, anywhere)
        return _without_cuda(plan, why, there, asks=asks)
    plan = replace(plan, answer=answer)
    return _fitted(plan, answer, given, target_batch) if asks and answer.result is not None else plan


def _told_device(line: CommandLine) -> str:
    """Return why the command's own words keep it off every GPU, or nothing."""
    told = dict(zip(line.arguments, line.arguments[1:], strict=False))
    told |= {name: text for name, equals, text in (word.partition("=") for word in line.arguments) if equals}
    return _why(told.get("--policy.device", "cuda"))


def _why_without_cuda(answer: Preflight, *, no_gpu: bool) -> str:
    if answer.run.job_target is not None:
        return ""
    here = "there is no NVIDIA GPU here" if no_gpu else ""
    return _why("cpu" if answer.launch.on_cpu else answer.run.device) or here


def _why(device: str) -> str:
    if device.startswith("cuda"):
        return ""
    return "this run is on the CPU" if device == "cpu" else f"this run is on {device!r}"


def _without_cuda(plan: Plan, why: str, answer: Preflight | None, *, asks: bool) -> Plan:
    """Return the plan of a run that takes no memory of a GPU: nothing is changed."""
    size = "as it is" if answer is None else answer.run.batch_size
    return replace(
        plan, answer=answer, without_cuda=why, said=f"the batch size stays {size}: {why}" if asks else ""
    )


def _on_a_gpu(line: CommandLine, given: Given) -> Preflight | None:
    """Return what the run would be on a GPU, if that can be told."""
    arguments = Words(line.arguments).with_flag("--policy.device=cuda").all
    environment = {**line.environment, **_ON_GPU}
    bare = replace(line, arguments=arguments, launcher="", launcher_options=(), environment=environment)
    try:
        return run_preflight(bare, given, remedies=False)
    except UnknownAnswerError:
        return None


# -- made to fit ---------------------------------------------------------------------------------------------


def _fitted(plan: Plan, answer: Preflight, given: Given, target: int | None) -> Plan:
    former, chosen = answer.run.batch_size, _NOTHING
    if target is None:
        size, what = _largest(answer, given)
    else:
        size, what, chosen = target, f"it surely fits {_card(answer)}", _lossless(answer, target)
    flags = {flag.partition("=")[0]: flag for offer in chosen for flag in offer.flags}
    if size != former and "--batch_size" not in flags:  # what accumulates has a smaller one of its own
        flags["--batch_size"] = f"--batch_size={size}"
    variables = {name: value for offer in chosen for name, value in offer.environment.items()}
    if not flags and not variables:
        return replace(plan, said=f"the batch size stays {size}: {what}")
    words = plan.words
    for flag in flags.values():
        words = words.with_flag(flag)
    words = words.with_variables(variables)
    fitted = _checked(words, flags, variables, given)
    changed = (*(f"{name}={value}" for name, value in variables.items()), *flags.values())
    notes = "".join(f"; {offer.note}" for offer in chosen if offer.note)
    said = f"{' '.join(changed)} (batch size {former} as given): {what}{notes}"
    return replace(plan, words=words, answer=fitted, changed=changed, said=said)


def _checked(words: Words, flags: dict[str, str], variables: dict[str, str], given: Given) -> Preflight:
    """Return the pre-flight of the changed command, once it says what it should.

    Raises:
        UsageError: the change does not reach lerobot-train, as inside the quotes of another shell.
    """
    asked = " ".join([*(f"{name}={value}" for name, value in variables.items()), *flags.values()])
    line = parse_command_line(words.all)
    seen = line.seen_environment()
    reaches = all(flag in line.arguments for flag in flags.values()) and all(
        seen.get(name) == value for name, value in variables.items()
    )
    if not reaches:
        raise UsageError(
            f"{PurePath(words.program[0]).name} hides lerobot-train's own words, so that they cannot be "
            f"changed; write {asked} there yourself"
        )
    return run_preflight(line, given, remedies=False)


def _largest(answer: Preflight, given: Given) -> tuple[int, str]:
    """Return the largest batch size that surely fits, and why; not more than the dataset has frames.

    It runs whichever plans cuDNN takes, as every prediction says it. Where that is only after a flush of the
    allocator's cache, or with little to spare, the largest with room to spare is named as well.
    """
    cell = _cell(answer)
    runs = predict_cell(cell).surely_fits_batch_size
    if runs is None:
        raise UnknownAnswerError(
            f"the largest batch size of {answer.run.policy_type} is not known; leave out --fit"
        )
    if not runs:
        raise NoFitError(f"not even batch size 1 fits {_card(answer)}; see actprof suggest")
    frames = _frames(answer, given)
    size = min(runs, frames or runs)
    roomy = bisect_left(range(1, size + 1), True, key=partial(_does_not_fit, cell))  # noqa: FBT003 - looked for
    tightly = "" if roomy == size else f", tightly; {roomy} leaves room to spare"
    if size == frames:
        return size, f"as many as the dataset has frames, which surely fit {_card(answer)}{tightly}"
    return size, f"the largest that surely fits {_card(answer)}{tightly}"


def _does_not_fit(cell: Cell, size: int) -> bool:
    return predict_cell(replace(cell, batch_size=size)).verdict != Verdict.FITS


def _frames(answer: Preflight, given: Given) -> int:
    """Return how many frames the dataset has; 0 where nobody knows."""
    run = answer.run
    try:
        info, where = find_info(
            run.repo_id, run.root, run.revision, answer.command.seen_environment(), hub=not given.is_whole
        )
        return 0 if info is None else shapes_of(info, where).frames
    except ActprofError:
        return 0


def _lossless(answer: Preflight, target: int) -> tuple[Offer, ...]:
    """Return the cheapest lossless remedies by which `target` samples fit; none where it fits as it is.

    Raises:
        NoFitError: nothing does.
    """
    cell = replace(_cell(answer), batch_size=target)
    start = predict_cell(cell)
    if start.verdict == Verdict.FITS:
        return ()
    is_job = answer.run.job_target is not None  # no variable goes with it
    names = [
        offer.name
        for offer in offers(cell)
        if offer.kind == LOSSLESS and offer.cost not in (DATA, CODE) and not (is_job and offer.environment)
    ]
    found = reach(suggest(cell, names=names, target_batch=target)) if names else ()
    if not found:
        raise NoFitError(
            f"batch size {target} does not surely fit {_card(answer)}, and no flag or variable makes it that "
            f"leaves the training as it is; --fit takes the largest that does, and actprof suggest "
            f"--target-batch {target} knows of other remedies"
        )
    return found[0].offers


def _cell(answer: Preflight) -> Cell:
    if answer.result is None:
        raise UnknownAnswerError(answer.reason)
    return answer.result.cell


def _card(answer: Preflight) -> str:
    return "the GPU" if answer.gpu is None else answer.gpu.place
