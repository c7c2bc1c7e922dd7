"""What `lerobot-train` makes of a command's arguments, asked of lerobot's own parser, classes and checks.

Nothing is trained and no weights are fetched. The answer is plain JSON values (`draccus.encode`), so that who
reads it needs no lerobot. Importing lerobot takes ten seconds, so pre-flight comes here only with
commands that it cannot surely read by itself.
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import types
import typing
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

from actprof.errors import UnknownAnswerError, UsageError
from actprof.quiet import quiet_imports

HUB_SECONDS = 4.0
SIMPLE = {int: "int", float: "float", bool: "bool", str: "str", Path: "Path"}
# The smallest command that lerobot accepts: what every field is when nobody says otherwise.
_LEAST = ("--policy.type=act", "--dataset.repo_id=a/b", "--policy.push_to_hub=false")
_OFFLINE = (
    "LocalEntryNotFoundError",
    "OfflineModeIsEnabled",
    "ConnectError",
    "ConnectTimeout",
    "ReadTimeout",
)
_REMEDIES = {
    "'repo_id' argument missing": "add --policy.push_to_hub=false, or --policy.repo_id=NAME/REPOSITORY",
    "upper bound for the number of action steps": "set --policy.n_action_steps to at most the chunk size",
    "already exists and resume is False": "name another --output_dir, or remove the folder",
}


def read_train_command(arguments: Sequence[str], *, may_exist: bool = False) -> dict[str, Any]:
    """Return the config that `lerobot-train ARGUMENTS` would train with, as nested JSON values.

    Args:
        arguments: what stands after `lerobot-train`.
        may_exist: do not refuse an output folder that is there already, as lerobot does.

    Returns:
        The fields of lerobot's `TrainPipelineConfig`; beside them `optimizer_asked` (the optimizer before
        the policy's preset replaced it, or None) and `optimizer_default` (fields of an untouched optimizer
        of the same type). `output_dir` is None where the command names none.

    Raises:
        UsageError: lerobot refuses the command; the message is lerobot's own.
        UnknownAnswerError: a file on the Hub that is needed cannot be had.
    """
    with quiet_imports(), _as_lerobot_train(arguments):
        return _read(list(arguments), may_exist=may_exist)


def describe_fields() -> dict[str, Any]:
    """Return the flags of simple types with their types, and every field's default.

    `{"types": {"batch_size": "int", "policy.chunk_size": "int", "seed": "int?", …}, "defaults": {…}}`, for
    `--policy.type=act`; `?` stands for a field that may be null.
    """
    defaults = read_train_command(_LEAST)
    with quiet_imports():
        from lerobot.configs.train import TrainPipelineConfig
        from lerobot.policies.factory import make_policy_config

        act = type(make_policy_config("act", device="cpu"))
    flags = dict(_simple_fields(TrainPipelineConfig, ""))
    flags |= dict(_simple_fields(act, "policy."))
    defaults["dataset"]["repo_id"] = None
    defaults["policy"]["push_to_hub"] = next(
        item.default for item in dataclasses.fields(act) if item.name == "push_to_hub"
    )
    return {"types": flags, "defaults": defaults}


def _simple_fields(kind: type[Any], prefix: str) -> Iterator[tuple[str, str]]:
    hints = typing.get_type_hints(kind)
    for item in dataclasses.fields(kind):
        hint = hints[item.name]
        if isinstance(hint, type) and dataclasses.is_dataclass(hint):
            if "ChoiceRegistry" not in {base.__name__ for base in hint.__mro__}:
                yield from _simple_fields(hint, f"{prefix}{item.name}.")
        elif item.init and (name := _simple_type(hint)):
            yield f"{prefix}{item.name}", name


def _simple_type(hint: Any) -> str:
    if hint in SIMPLE:
        return SIMPLE[hint]
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        inside = typing.get_args(hint)
        if len(inside) == 2 and types.NoneType in inside:
            name = SIMPLE.get(next(part for part in inside if part is not types.NoneType))
            return f"{name}?" if name else ""
    return ""


@contextlib.contextmanager
def _as_lerobot_train(arguments: Sequence[str]) -> Iterator[None]:
    """Stand where `lerobot-train` runs: its arguments, and the GPU of the run, which need not be here."""
    import huggingface_hub.constants as hub
    import torch
    from draccus.wrappers import docstring
    from lerobot.configs import parser

    remembered = (parser._config_path_args, parser._config_yaml_overrides)
    for memory in remembered:  # of the command before
        memory.clear()
    with (
        mock.patch("sys.argv", ["lerobot-train", *arguments]),
        mock.patch.object(torch.cuda, "is_available", lambda: True),
        mock.patch.object(hub, "HF_HUB_ETAG_TIMEOUT", HUB_SECONDS),
        mock.patch.object(hub, "HF_HUB_DOWNLOAD_TIMEOUT", HUB_SECONDS),
        mock.patch.object(hub, "HF_HUB_OFFLINE", hub.HF_HUB_OFFLINE or not _hub_answers(arguments)),
        # draccus reads the source of every config class for its help, which nobody asks for here.
        mock.patch.object(
            docstring, "get_attribute_docstring", lambda *_where: docstring.AttributeDocString()
        ),
    ):
        yield


def _hub_answers(arguments: Sequence[str]) -> bool:
    """Tell whether the Hub can be reached, if the command may need it: its client retries for 20 seconds."""
    if not any(flag in argument for argument in arguments for flag in ("path", "revision")):
        return True
    import socket
    from urllib.parse import urlsplit

    import huggingface_hub.constants as hub

    host = urlsplit(hub.ENDPOINT)
    port = host.port or {"http": 80}.get(host.scheme, 443)
    try:
        socket.create_connection((host.hostname or "", port), timeout=HUB_SECONDS).close()
    except OSError:
        return False
    return True


def _read(arguments: list[str], *, may_exist: bool) -> dict[str, Any]:
    import draccus
    import lerobot.policies  # noqa: F401 - registers the policies
    from lerobot.utils.import_utils import register_third_party_plugins

    register_third_party_plugins()
    config = _parsed(arguments)
    named = config.output_dir
    asked = None if config.optimizer is None else draccus.encode(config.optimizer, _optimizers())
    if may_exist:
        config.output_dir = None
    _refuse_remote_resume(config)
    with _refusals():
        config.validate()
    data: dict[str, Any] = draccus.encode(config)
    return {
        **data,
        "output_dir": None if named is None else str(named),
        "optimizer_asked": asked,
        "optimizer_default": _untouched(config.optimizer),
    }


def _parsed(arguments: list[str]) -> Any:
    """Let lerobot's own `parser.wrap` parse the command."""
    from lerobot.configs import parser
    from lerobot.configs.train import TrainPipelineConfig

    if "--help" in arguments or "-h" in arguments:
        raise UsageError("--help asks for lerobot's help; leave it out, or run `lerobot-train --help`")

    def keep(config: Any) -> Any:
        return config

    keep.__annotations__ = {"config": TrainPipelineConfig}
    said = io.StringIO()
    with _refusals():
        try:
            with contextlib.redirect_stderr(said):
                return parser.wrap()(keep)()
        except SystemExit as end:
            cause = end.__context__
            text = _with_cause(cause) if isinstance(cause, Exception) else said.getvalue()
            raise UsageError(_refusal(text)) from end


@contextlib.contextmanager
def _refusals() -> Iterator[None]:
    """Turn whatever lerobot raises for a command into an answer for the user."""
    try:
        yield
    except UsageError:
        raise
    except Exception as error:
        if _is_about_the_hub(error):
            raise UnknownAnswerError(
                "this command names a file that is neither here nor reachable on the Hub; "
                "name a local one, or try again with a connection"
            ) from error
        raise UsageError(_refusal(_with_cause(error))) from error


def _is_about_the_hub(error: BaseException | None) -> bool:
    while error is not None:
        if type(error).__name__ in _OFFLINE:
            return True
        error = error.__cause__ or error.__context__
    return False


def _refuse_remote_resume(config: Any) -> None:
    """Stop before lerobot downloads a whole checkpoint."""
    from lerobot.configs import parser

    path = parser.parse_arg("config_path")
    if config.resume and path and not Path(path).exists():
        raise UnknownAnswerError(
            f"--config_path={path} is not here, and resuming from the Hub downloads the checkpoint; "
            "name a train_config.json on this machine"
        )


def _refusal(text: str) -> str:
    words = text.rpartition("error: ")[2].strip() or "no reason given"
    remedy = next((remedy for sign, remedy in _REMEDIES.items() if sign in words), "")
    if not remedy and "unrecognized arguments: " in words:
        remedy = _nearest_flag(words.partition("unrecognized arguments: ")[2])
    return f"lerobot-train refuses this command: {words}" + (f"\n{remedy}" if remedy else "")


def _nearest_flag(unknown: str) -> str:
    import difflib

    from lerobot.configs.train import TrainPipelineConfig
    from lerobot.policies.factory import make_policy_config

    flag = unknown.split(maxsplit=1)[0].partition("=")[0].removeprefix("--")
    known = [name for name, _type in _simple_fields(TrainPipelineConfig, "")]
    known += [
        name for name, _type in _simple_fields(type(make_policy_config("act", device="cpu")), "policy.")
    ]
    near = difflib.get_close_matches(flag, known, n=2)
    return f"did you mean {' or '.join(f'--{name}' for name in near)}?" if near else ""


def _with_cause(error: BaseException) -> str:
    """Return what `error` and its causes say: draccus hides the reason of a refused value in the cause."""
    texts: list[str] = []
    link: BaseException | None = error
    while link is not None:
        text = " ".join(str(link.args[-1] if isinstance(link, KeyError) and link.args else link).split())
        texts += [text] if text and text not in " ".join(texts) else []
        link = link.__cause__
    return " ".join(texts) or type(error).__name__


def _optimizers() -> Any:
    from lerobot.optim.optimizers import OptimizerConfig

    return OptimizerConfig


def _untouched(optimizer: Any) -> dict[str, Any] | None:
    if optimizer is None:
        return None
    import draccus

    data: dict[str, Any] = draccus.encode(type(optimizer)(), _optimizers())
    return data
