"""What actprof must know of a policy beyond what lerobot says itself. Everything but its name has a default.

A spec is read without torch: its functions import what they need of torch and lerobot when they are called.
What lerobot's config says (history, rewards, length of a chunk, parameter groups) is not asked for here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

from actprof.cell import Cell


def _no_stand_ins(_cell: Cell) -> AbstractContextManager[object]:
    return nullcontext()


def _this_moment(_config: Mapping[str, Any]) -> int:
    return 0


def _plain_tokens(cell: Cell) -> Any:
    from actprof.policies.hub import Tokens

    return Tokens(cell.task_tokens)


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicySpec:
    """One lerobot policy.

    Attributes:
        name: lerobot's name of the policy.
        title: what people call it.
        fixed: fields of its config that have one value here, whatever a run says, as they change no size and
            ask the Hub.
        sizeless: more fields of its config that change no size: runs that differ in them share a trace.
        extra: of lerobot, without which the policy cannot be imported; empty: none.
        models: configurations of the models of the Hub that it is built of, by repository, each as its
            `config.json` has them; see `actprof.policies.hub.without_hub`.
        example: fields of a cell that a first run of it needs beside its name.
        bases: the pretrained policies that people start from, by repository: the fields of each `config.json`
            that differ from lerobot's defaults, for `actprof preflight` where the Hub is out of reach.
        needs_field: a field of its config without which lerobot cannot build it, and which its bases say;
            empty: none.
        absent_cameras: what it does about a camera that its checkpoint names and the dataset lacks: `skipped`
            goes on without it, `empty` computes an empty image in its place; empty: it cannot do without.
        tokens: makes what stands for its tokenizers and processors.
        stand_ins: gives the context in which lerobot builds config, policy and pre-processor; what these
            would otherwise look for outside is answered in it.
        history: how many time steps of each observation a sample has, by the fields of its config
            (`observation_delta_indices`); 0: this moment's alone, without an axis of time.
        needs_state: whether it asks every batch for `observation.state`.
        reads_task: whether it reads the text of the task from the batch.
        reads_all: whether it reads a task of any length, not padded to a number of tokens of its own.
        follows_values: whether sizes inside depend on integers that are known, like the grids of images or
            where a text has them; see `actprof.trace.values`.
        sample_loops: paths of modules that loop over the samples of a batch in Python. Where they are frozen
            nothing else of the loops stays than a fixed number of tensors; see `actprof.trace.sample_loops`.
        steps: how many of its training steps are traced, until one is like all later ones: the optimizer's
            state appears at the end of the first, a test traces one more.
        pads_task: whether it pads every text to one length, so that how long a task is changes nothing.
        use_amp: what the field `use_amp` of its config is by default.
        dtype: what the field `dtype` of its config is by default: it decides autocast then, and no launcher
            does; empty: it has no such field.
        options: fields of its config that a remedy may set (see `actprof.advice.policy_options`), each with
            lerobot's default.
        resized_by: the field of its config that, where it is set, says to what size the policy itself
            brings images, so that smaller ones save nothing; its default is among `options`.
        lora: whether lerobot knows where in it an adapter goes (`_get_default_peft_targets`).
        units: classes of its modules that FSDP shards as units of their own, as lerobot names them from 0.6.2
            on (`_fsdp_wrap_modules`); none where it names none.
        parts: what changes may need of it, with the path of the module (or list of modules); an empty path
            for what is true of the whole policy. See `Change.needs`.
        components: (module path prefix, component) pairs; the first match names a parameter's or an
            activation's component.
        other_component: the component of everything that no prefix matches.
        groups: (module path prefix, group) pairs: what a component's activations are called where
            `actprof.prediction.attribution.group_of` cannot tell by the names of a transformer's parts.
        token_module: path of the module whose input is the token sequence that people ask for, that of the
            main encoder or of the language model; empty: no tokens.
        token_dim: dimension of that input that counts tokens.
        token_pixels: side of the square of a camera's own pixels that makes one token; 0: it resizes images.
        tokens_called: what these tokens are, in the plural.
        output_module: path of the module that returns the predicted action chunk, batch first; empty: none.
        line_modules: paths of the modules whose `forward` is worth a profile by source line; of modules of
            one class the first stands for all.
        assumptions: sentences on what was assumed of it, shown with every prediction.
        grounded: whether a sweep runs it once on the CPU; a policy of billions of parameters takes too long.
    """

    name: str
    title: str = "the policy"
    fixed: Mapping[str, Any] = field(default_factory=dict)
    sizeless: frozenset[str] = frozenset()
    extra: str = ""
    models: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    example: Mapping[str, Any] = field(default_factory=dict)
    bases: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    needs_field: str = ""
    absent_cameras: str = ""
    tokens: Callable[[Cell], Any] = _plain_tokens
    stand_ins: Callable[[Cell], AbstractContextManager[object]] = _no_stand_ins
    history: Callable[[Mapping[str, Any]], int] = _this_moment
    needs_state: bool = True
    reads_task: bool = False
    reads_all: bool = False
    follows_values: bool = False
    sample_loops: tuple[str, ...] = ()
    steps: int = 2
    pads_task: bool = False
    use_amp: bool = False
    dtype: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    resized_by: str = ""
    lora: bool = False
    units: tuple[str, ...] = ()
    parts: Mapping[str, str] = field(default_factory=dict)
    components: tuple[tuple[str, str], ...] = ()
    other_component: str = "other"
    groups: tuple[tuple[str, str], ...] = ()
    token_module: str = ""
    token_dim: int = 1
    token_pixels: int = 0
    tokens_called: str = "encoder tokens"
    output_module: str = ""
    line_modules: tuple[str, ...] = ("",)
    assumptions: tuple[str, ...] = ()
    grounded: bool = True

    def option(self, cell: Cell, name: str) -> Any:
        """Return what a field of its config is in this run; None where no remedy may set it."""
        return cell.overrides.get(name, self.options.get(name))
