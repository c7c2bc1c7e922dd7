"""What actprof must know of a policy beyond what lerobot says itself: where to look inside it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicySpec:
    """Names inside one lerobot policy.

    Attributes:
        name: lerobot's name of the policy.
        components: (module path prefix, component) pairs; the first match names a parameter's or an
            activation's component, `other` when none does.
        other_component: the component of everything that no prefix matches.
        token_module: path of the module whose input is the main encoder's token sequence.
        token_dim: dimension of that input that counts tokens.
        output_module: path of the module that returns the predicted action chunk, batch first.
        line_modules: paths of the modules whose `forward` is worth a profile by source line; of modules of
            one class the first stands for all.
    """

    name: str
    components: tuple[tuple[str, str], ...]
    other_component: str
    token_module: str
    token_dim: int
    output_module: str
    line_modules: tuple[str, ...] = ()
