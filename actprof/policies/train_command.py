"""What `lerobot-train` makes of a command's arguments, asked of lerobot's own parser, classes and checks.

Nothing is trained and no weights are fetched. The answer is plain JSON values (`draccus.encode`), so that who
reads it needs no lerobot. Importing lerobot takes ten seconds, so pre-flight comes here only with
commands that it cannot surely read by itself.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import socket
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from unittest import mock

from actprof.cell import Cell
from actprof.errors import UnknownAnswerError, UsageError
from actprof.policies import policy_names, policy_spec
from actprof.policies.train_flags import checked_flags, known_flags, policy_class
from actprof.quiet import quiet_imports

HUB_SECONDS = 4.0
_HUB = "https://huggingface.co"
# From the name and revision of a pretrained policy to its config, `type` included.
ConfigOf = Callable[[str, str | None], Mapping[str, Any]]
_REMEDIES = {
    "'repo_id' argument missing": "add --policy.push_to_hub=false, or --policy.repo_id=NAME/REPOSITORY",
    "upper bound for the number of action steps": "set --policy.n_action_steps to at most the chunk size",
    "already exists and resume is False": "name another --output_dir, or remove the folder",
}


def read_train_command(
    arguments: Sequence[str], *, may_exist: bool = False, config_of: ConfigOf | None = None
) -> dict[str, Any]:
    """Return the config that `lerobot-train ARGUMENTS` would train with, as nested JSON values.

    Args:
        arguments: what stands after `lerobot-train`.
        may_exist: do not refuse an output folder that is there already, as lerobot does.
        config_of: gives the configs of pretrained policies that lerobot would ask the Hub for.

    Returns:
        The fields of lerobot's `TrainPipelineConfig`; beside them `optimizer_asked` (the optimizer before
        the policy's preset replaced it, or None), `optimizer_flags` (its fields that the command names) and
        `optimizer_default` (fields of an untouched optimizer of the same type). `output_dir` is None where
        the command names none.

    Raises:
        UsageError: lerobot refuses the command; the message is lerobot's own.
        UnknownAnswerError: a file on the Hub that is needed cannot be had.
    """
    with (
        quiet_imports(),
        _as_lerobot_train(arguments),
        _configs_from(config_of),
        _models_of(_named_policy(arguments, config_of)),
    ):
        return _read(list(arguments), may_exist=may_exist)


def describe_fields(policy: str) -> dict[str, Any]:
    """Return what `FlagTable` keeps of `lerobot-train --policy.type=POLICY`.

    `{"types": {"batch_size": "int", "policy.chunk_size": "int", "seed": "int?", …}, "defaults": {…},
    "checked": ["policy.chunk_size", …]}`; `?` stands for a field that may be null.
    """
    # the smallest command that lerobot accepts: what every field is when nobody says otherwise
    least = (f"--policy.type={policy}", "--dataset.repo_id=a/b", "--policy.push_to_hub=false")
    defaults = read_train_command(least)
    kind = policy_class(policy)
    defaults["dataset"]["repo_id"] = None
    defaults["policy"]["push_to_hub"] = kind.__dataclass_fields__["push_to_hub"].default
    return {"types": known_flags(kind), "defaults": defaults, "checked": checked_flags(kind)}


@contextlib.contextmanager
def _as_lerobot_train(arguments: Sequence[str]) -> Iterator[None]:
    """Stand where `lerobot-train` runs: its arguments, and the GPU of the run, which need not be here."""
    import huggingface_hub.constants as hub
    import torch
    from draccus.wrappers import docstring
    from lerobot.configs import parser

    for name in ("_config_path_args", "_config_yaml_overrides"):  # of the command before, from 0.6.0 on
        getattr(parser, name, {}).clear()
    with (
        mock.patch("sys.argv", ["lerobot-train", *arguments]),
        mock.patch.object(torch.cuda, "is_available", lambda: True),
        mock.patch.object(hub, "HF_HUB_ETAG_TIMEOUT", HUB_SECONDS),
        mock.patch.object(hub, "HF_HUB_DOWNLOAD_TIMEOUT", HUB_SECONDS),
        mock.patch.object(hub, "HF_HUB_OFFLINE", hub.HF_HUB_OFFLINE or _is_cut_off(arguments)),
        # draccus reads the source of every config class for its help, which nobody asks for here.
        mock.patch.object(docstring, "get_attribute_docstring", lambda *_: docstring.AttributeDocString()),
    ):
        yield


@contextlib.contextmanager
def _configs_from(config_of: ConfigOf | None) -> Iterator[None]:
    """Stand between lerobot and the Hub where it looks for the config of a pretrained policy."""
    if config_of is None:
        yield
        return
    from lerobot.configs import policies

    with tempfile.TemporaryDirectory() as folder:

        def answer(repo_id: str, revision: str | None = None, **_asked: Any) -> str:
            path = Path(folder) / "config.json"
            path.write_text(json.dumps(config_of(repo_id, revision)), encoding="utf-8")
            return str(path)

        with mock.patch.object(policies, "hf_hub_download", answer):
            yield


def _named_policy(arguments: Sequence[str], config_of: ConfigOf | None) -> str:
    """Return the type of the policy that a command names, as far as that can be told before it is read."""
    from lerobot.configs import parser

    path = parser.get_path_arg("policy", arguments)
    if path and config_of is not None:
        return str(config_of(path, None).get("type"))
    saved = Path(parser.parse_arg("config_path", arguments) or "")
    told = parser.get_type_arg("policy", arguments)
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        told = told or json.loads(saved.read_text(encoding="utf-8"))["policy"]["type"]
    return str(told)


def _models_of(policy: str) -> contextlib.AbstractContextManager[object]:
    """Answer the configs that look for their models on the Hub while they are made."""
    spec = policy_spec(policy) if policy in policy_names() else None
    if spec is None or not spec.models or find_spec("transformers") is None:
        return contextlib.nullcontext()
    from actprof.policies.hub import without_hub

    return without_hub(Cell(policy=policy), spec.models, spec.tokens)


def _is_cut_off(arguments: Sequence[str]) -> bool:
    """Tell whether a command may need the Hub, which is out of reach: its client retries for 20 seconds."""
    asks = any(flag in argument for argument in arguments for flag in ("path", "revision"))
    return asks and not hub_answers(os.environ)


def hub_answers(environment: Mapping[str, str]) -> bool:
    """Tell whether the Hub of a run's environment can be reached, in a few seconds at most."""
    from urllib.parse import urlsplit

    if environment.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE"):
        return False
    host = urlsplit(environment.get("HF_ENDPOINT") or _HUB)
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
    asked = config.optimizer and _encoded(config.optimizer)
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
        "optimizer_flags": [word[12:].partition("=")[0] for word in arguments if word[:12] == "--optimizer."],
        "optimizer_default": config.optimizer and _encoded(type(config.optimizer)()),
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
    except (UsageError, UnknownAnswerError):
        raise
    except Exception as error:
        if _is_about_the_hub(error):
            raise UnknownAnswerError(
                "this command names a file that is neither here nor reachable on the Hub; "
                "name a local one, or try again with a connection"
            ) from error
        raise UsageError(_refusal(_with_cause(error))) from error


def _is_about_the_hub(error: BaseException | None) -> bool:
    from httpx import TransportError
    from huggingface_hub.errors import LocalEntryNotFoundError, OfflineModeIsEnabled

    while error is not None:
        if isinstance(error, LocalEntryNotFoundError | OfflineModeIsEnabled | TransportError):
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

    from lerobot.configs import parser

    flag = unknown.split(maxsplit=1)[0].partition("=")[0].removeprefix("--")
    known = known_flags(policy_class(parser.get_type_arg("policy") or "act"))
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


def _encoded(optimizer: Any) -> dict[str, Any]:
    """Return an optimizer's fields and its type, which not every draccus writes."""
    import draccus

    return {"type": optimizer.type, **draccus.encode(optimizer)}
