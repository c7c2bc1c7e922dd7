"""What a policy says of itself: its parameters, token count and output. Plain records; imports no torch."""

from __future__ import annotations

from dataclasses import dataclass

from actprof.results import ComponentSize


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """One parameter (or buffer) of the policy: path, component, element count, bytes, trainable.

    The dtype is as `float32`; empty when unknown.
    """

    path: str
    component: str
    count: int
    bytes: int
    trainable: bool
    is_buffer: bool = False
    dtype: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyFacts:
    """What a policy says of itself when it is built and run once; for its component fields see `PolicySpec`.

    `encoder_tokens` is the length of the sequence that enters the main encoder or the language model, read
    off its input; 0 for a policy without one. `output_shape` is that of the predicted action chunk without
    the batch dimension.
    """

    parameters: tuple[Parameter, ...]
    encoder_tokens: int
    output_shape: tuple[int, ...]
    components: tuple[tuple[str, str], ...]
    other_component: str
    groups: tuple[tuple[str, str], ...] = ()

    @property
    def parameter_count(self) -> int:
        """Number of elements of all parameters, buffers left out."""
        return sum(p.count for p in self.parameters if not p.is_buffer)

    @property
    def by_component(self) -> tuple[ComponentSize, ...]:
        """The parameters of each component together, in the order of the policy's modules."""
        groups: dict[str, list[Parameter]] = {}
        for parameter in self.parameters:
            if not parameter.is_buffer:
                groups.setdefault(parameter.component, []).append(parameter)
        return tuple(_together(name, rows) for name, rows in groups.items())

    def component_of(self, path: str) -> str:
        """Return the component of a module or parameter path."""
        return find_component(path, self.components) or self.other_component


def _together(component: str, rows: list[Parameter]) -> ComponentSize:
    trained, frozen = ([p for p in rows if p.trainable == wanted] for wanted in (True, False))
    return ComponentSize(
        component=component,
        trainable=sum(p.count for p in trained),
        trainable_bytes=sum(p.bytes for p in trained),
        frozen=sum(p.count for p in frozen),
        frozen_bytes=sum(p.bytes for p in frozen),
        dtypes=tuple(dict.fromkeys(p.dtype for p in rows if p.dtype)),
    )


def find_component(path: str, components: tuple[tuple[str, str], ...]) -> str | None:
    """Return the component of the first (prefix, component) pair that covers a dotted path."""
    covering = (name for prefix, name in components if path == prefix or path.startswith(prefix + "."))
    return next(covering, None)
