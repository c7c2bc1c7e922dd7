"""What accelerate, torchrun and the environment change about a run: processes, precision, allocator settings.

Mirrors `accelerate/commands/launch.py` (`_validate_launch_command`) and `accelerate/state.py` of accelerate
1.x: options first, then the config file, then the number of GPUs; lerobot leaves the precision to
accelerate's environment unless `use_amp` is on.

torch 2.11 reads `PYTORCH_CUDA_ALLOC_CONF` and, only where that is not set at all, `PYTORCH_ALLOC_CONF`
(`CUDAAllocatorConfig::instance` in c10/cuda/CUDAAllocatorConfig.h). The two are never merged, and an empty
`PYTORCH_CUDA_ALLOC_CONF` hides the other.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from actprof.errors import UsageError
from actprof.training_command.command_line import CommandLine, expanded, hugging_face_home
from actprof.training_command.sharing import Sharing, fsdp_sharing, is_on

_PRECISIONS = {"no": "fp32", "fp16": "fp16", "bf16": "bf16"}
_WRAPS = {"use_deepspeed": "DeepSpeed", "use_megatron_lm": "Megatron-LM", "tpu": "a TPU"}
_DISTRIBUTED = {"DEEPSPEED": "DeepSpeed", "MEGATRON_LM": "Megatron-LM", "XLA": "a TPU"}
_SETTINGS = (
    "mixed_precision", "dynamo_backend", "cpu", "use_cpu", "gradient_accumulation_steps", "use_fsdp",
)  # fmt: skip
# As many as there are GPUs: torchrun's words, and what stands for `$(nvidia-smi -L | wc -l)`.
_AS_MANY = ("gpu", "auto", "nvidia-smi")
_NUMBER = re.compile(r"\d+")
_ALLOCATOR_VARIABLES = ("PYTORCH_CUDA_ALLOC_CONF", "PYTORCH_ALLOC_CONF")


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """How the run's processes start.

    Attributes:
        processes: of the whole run, each with a model and a batch of its own; None: one for each GPU here.
        machines: that they are spread over evenly.
        precision: `fp32`, `fp16` or `bf16`, where lerobot leaves it to accelerate.
        sharing: how several share the training, where lerobot leaves it to accelerate: by DDP where it says
            nothing, as does even a single process that torchrun starts.
        unsupported: what it does that actprof does not know the memory of, in a sentence; or empty.
    """

    processes: int | None = 1
    machines: int = 1
    precision: str = "fp32"
    sharing: Sharing = field(default_factory=Sharing)
    on_cpu: bool = False
    unsupported: str = ""
    assumptions: tuple[str, ...] = ()


def launch_of(command: CommandLine, *, around: Mapping[str, str] | None = None) -> Launch:
    """Return how `command` starts its processes, in the environment `around` it or else this process's.

    Raises:
        UsageError: an option of the launcher that cannot be, or a config file that cannot be read.
    """
    seen = command.seen_environment(around)
    options = _options(command.launcher_options)
    if command.launcher == "accelerate":
        return _accelerate(options, seen)
    # what accelerate reads from the environment when it launches nothing
    told = {name: seen.get(f"ACCELERATE_{name.upper()}", "") for name in (*_SETTINGS, *_WRAPS)}
    fsdp = {name.lower(): value for name, value in seen.items() if name.startswith("FSDP_")}
    if command.launcher == "torchrun":
        nodes = _count("--nnodes", options.get("nnodes", "1").partition(":")[0])
        launch = _launch(told, _torchrun_processes(options, nodes), fsdp=fsdp, ranked=True)
        return replace(launch, machines=nodes)
    count = _count("WORLD_SIZE", seen.get("WORLD_SIZE", "1"))
    return _launch(told, count, fsdp=fsdp, ranked="LOCAL_RANK" in seen)


@dataclass(frozen=True, slots=True)
class AllocatorSettings:
    """The settings of a run: the text, the variable that it comes from, and the one that is not read."""

    text: str = ""
    variable: str = ""
    hidden: str = ""


def allocator_settings(environment: Mapping[str, str]) -> AllocatorSettings:
    """Return the allocator settings that PyTorch takes from `environment`."""
    there = [name for name in _ALLOCATOR_VARIABLES if name in environment]
    if not there:
        return AllocatorSettings()
    hidden = there[1] if len(there) > 1 and environment[there[1]] != environment[there[0]] else ""
    return AllocatorSettings(environment[there[0]], there[0], hidden)


def _options(words: Sequence[str]) -> dict[str, str]:
    """Return option -> value with underscores for hyphens; an option without value has `true`."""
    options: dict[str, str] = {}
    rest = [word for word in words if word not in ("launch", "-m", "--module")]
    while rest:
        name, equals, value = rest.pop(0).partition("=")
        if not name.startswith("-"):
            continue
        if not equals:
            value = rest.pop(0) if rest and not rest[0].startswith("-") else "true"
        options[name.lstrip("-").replace("-", "_")] = value
    return options


def _torchrun_processes(options: Mapping[str, str], nodes: int) -> int | None:
    per_node = options.get("nproc_per_node", "1")
    return None if per_node in _AS_MANY else nodes * _count("--nproc_per_node", per_node)


def _accelerate(options: Mapping[str, str], seen: Mapping[str, str]) -> Launch:
    config = _config_file(options, seen)
    told = {**config, **options}
    processes = told.get("num_processes")
    inner = config.get("dynamo_config")
    if isinstance(inner, dict) and not told.get("dynamo_backend"):
        told["dynamo_backend"] = inner.get("dynamo_backend")
    kind = str(config.get("distributed_type")).upper()
    if kind == "FSDP":
        told = {"use_fsdp": "true", **told}
    fsdp = config.get("fsdp_config")
    fsdp = fsdp if isinstance(fsdp, dict) else {}
    launch = _launch(
        {name: str(told.get(name) or "") for name in (*_SETTINGS, *_WRAPS)},
        None if processes in (None, *_AS_MANY) else _count("--num_processes", str(processes)),
        wrapped_in=_DISTRIBUTED.get(kind, ""),
        fsdp={**fsdp, **{name: value for name, value in options.items() if name.startswith("fsdp_")}},
        ranked=is_on(options.get("multi_gpu", False)) or kind == "MULTI_GPU",
    )
    return replace(launch, machines=_count("--num_machines", str(told.get("num_machines") or 1)))


def _launch(
    told: Mapping[str, str],
    processes: int | None,
    *,
    wrapped_in: str = "",
    fsdp: Mapping[str, Any],
    ranked: bool,
) -> Launch:
    """Return the launch of settings by accelerate's names; what is not said is empty.

    `fsdp` are FSDP's; `ranked` tells whether even a single process is one of a group.
    """
    precision = told["mixed_precision"].lower() or "no"
    dynamo = told["dynamo_backend"] or "no"
    wraps = [*(name for flag, name in _WRAPS.items() if is_on(told[flag])), *filter(None, [wrapped_in])]
    sharing = Sharing(strategy="ddp") if ranked else Sharing()
    if is_on(told["use_fsdp"]):
        sharing = fsdp_sharing(fsdp)
    accumulation = (
        f"gradient accumulation over {told['gradient_accumulation_steps']} steps changes no memory: lerobot "
        "steps the optimizer with every batch all the same"
    )
    unsupported = ""
    if wraps:
        unsupported = f"accelerate wraps the model with {wraps[0]}, which actprof does not trace"
    elif precision not in _PRECISIONS:
        unsupported = f"actprof does not trace mixed precision {precision!r}; it knows no, fp16 and bf16"
    elif dynamo.lower() not in ("no", "none"):
        unsupported = f"accelerate compiles the model (dynamo backend {dynamo}), which actprof does not trace"
    return Launch(
        processes=processes,
        precision=_PRECISIONS.get(precision, "fp32"),
        sharing=sharing,
        on_cpu=is_on(told["cpu"]) or is_on(told["use_cpu"]),
        unsupported=unsupported,
        assumptions=() if told["gradient_accumulation_steps"] in ("1", "") else (accumulation,),
    )


def _config_file(options: Mapping[str, str], seen: Mapping[str, str]) -> dict[str, Any]:
    """Return accelerate's config file: the one named, else the user's, else nothing."""
    usual = hugging_face_home(seen) / "accelerate" / "default_config.yaml"
    named = options.get("config_file")
    path = expanded(named) if named else usual
    if not path.is_file():
        if named:
            raise UsageError(f"accelerate's config file {named} is not there; name one that is")
        return {}
    import yaml

    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UsageError(f"accelerate's config file {path} cannot be read: {error}") from error
    return data if isinstance(data, dict) else {}


def _count(name: str, text: str) -> int:
    if text in ("", "true"):
        raise UsageError(f"{name} is empty (a variable that nothing sets?); write a whole number from 1")
    if not _NUMBER.fullmatch(text) or int(text) < 1:
        raise UsageError(f"{name} is {text!r}; it must be a whole number from 1")
    return int(text)
