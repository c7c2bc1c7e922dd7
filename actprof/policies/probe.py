"""Read what a policy says of itself: parameters, and the token sequence and output of a real forward pass."""

from __future__ import annotations

from typing import Any, Self

import torch

from actprof.policies.adapter import own_modules, own_path
from actprof.policies.facts import Parameter, PolicyFacts, find_component
from actprof.policies.spec import PolicySpec


class Probe:
    """While entered, reads the encoder's token count and the output's shape off the modules of `policy`.

    Attributes:
        tokens: length of the token sequence that last entered the main encoder; 0 before a forward pass, and
            for a policy without one.
        output_shape: shape of the last predicted action chunk without the batch dimension; empty before a
            forward pass, and where the spec names no module.
    """

    def __init__(self, policy: torch.nn.Module, spec: PolicySpec) -> None:
        self._policy = policy
        self._spec = spec
        self._handles: list[Any] = []
        self.tokens = 0
        self.output_shape: tuple[int, ...] = ()

    def __enter__(self) -> Self:
        """Hang the hooks."""
        modules = own_modules(self._policy)
        if self._spec.token_module:
            encoder = modules[self._spec.token_module]
            self._handles.append(encoder.register_forward_pre_hook(self._see_tokens, with_kwargs=True))
        if self._spec.output_module:
            head = modules[self._spec.output_module]
            self._handles.append(head.register_forward_hook(self._see_output))
        return self

    def __exit__(self, *_exc: object) -> None:
        """Take the hooks away."""
        for handle in self._handles:
            handle.remove()

    def _see_tokens(self, _module: Any, inputs: tuple[Any, ...], named: dict[str, Any]) -> None:
        given = (value for value in (*inputs, *named.values()) if isinstance(value, torch.Tensor))
        self.tokens = int(next(given).shape[self._spec.token_dim])

    def _see_output(self, _module: Any, _inputs: Any, output: Any) -> None:
        tensor = output[0] if isinstance(output, tuple) else output
        self.output_shape = tuple(int(size) for size in tensor.shape[1:])


def policy_facts(policy: torch.nn.Module, spec: PolicySpec, probe: Probe) -> PolicyFacts:
    """Return the facts of `policy` after `probe` has seen a forward pass."""
    return PolicyFacts(
        parameters=parameter_table(policy, spec),
        encoder_tokens=probe.tokens,
        output_shape=probe.output_shape,
        components=spec.components,
        other_component=spec.other_component,
        groups=spec.groups,
    )


def parameter_table(policy: torch.nn.Module, spec: PolicySpec) -> tuple[Parameter, ...]:
    """Return every parameter and buffer of `policy`, in the order of its modules."""
    rows: list[tuple[str, torch.Tensor, bool]] = [
        (own_path(name), tensor, False) for name, tensor in policy.named_parameters()
    ]
    rows += [(own_path(name), tensor, True) for name, tensor in policy.named_buffers()]
    return tuple(
        Parameter(
            path=name,
            component=find_component(name, spec.components) or spec.other_component,
            count=tensor.numel(),
            bytes=tensor.numel() * tensor.element_size(),
            trainable=tensor.requires_grad,
            is_buffer=is_buffer,
            dtype=str(tensor.dtype).removeprefix("torch."),
        )
        for name, tensor, is_buffer in rows
    )
