"""From the arguments of `lerobot-train` to a `TrainingRun`: by hand where that is sure, else by lerobot."""

from __future__ import annotations

from collections.abc import Sequence

from actprof.preflight_check.field_table import field_table, is_cached
from actprof.preflight_check.read_flags import CHECKED_LEROBOT, read_flags
from actprof.preflight_check.training_run import TrainingRun, training_run
from actprof.versions import package_version


def read_quickly(arguments: Sequence[str]) -> TrainingRun | None:
    """Return what the command means without lerobot, or None where only lerobot knows.

    The first time on a machine lerobot is imported to write down its flags.
    """
    if package_version("lerobot") not in CHECKED_LEROBOT:
        return None
    table = field_table()
    config = read_flags(arguments, table)
    return None if config is None else training_run(config, table.defaults)


def read_with_lerobot(arguments: Sequence[str], *, may_exist: bool = False) -> TrainingRun:
    """Return what lerobot's own parser makes of the command.

    Raises:
        UsageError: lerobot refuses it; the message is lerobot's own.
        UnknownAnswerError: it names a file on the Hub that cannot be had.
    """
    from actprof.policies.train_command import read_train_command

    config = read_train_command(arguments, may_exist=may_exist)
    return training_run(config, field_table().defaults)


def read_command(arguments: Sequence[str], *, may_exist: bool = False) -> TrainingRun:
    """Return what `lerobot-train ARGUMENTS` would train; raises as `read_with_lerobot`.

    Args:
        arguments: what stands after `lerobot-train`.
        may_exist: do not refuse an output folder that is there already, as lerobot does.
    """
    return read_quickly(arguments) or read_with_lerobot(arguments, may_exist=may_exist)


def needs_lerobot(arguments: Sequence[str]) -> bool:
    """Tell whether reading the command imports lerobot, which takes ten seconds."""
    return not is_cached() or read_quickly(arguments) is None
