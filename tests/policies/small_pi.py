"""The pi family with two layers each of its vision tower, language model and action expert."""

import importlib
from contextlib import ExitStack, contextmanager
from unittest import mock

from actprof.cell import Cell


def small_cell(policy, *, batch_size=2, **overrides):
    """A cell of one camera, for use inside `small_models`."""
    return Cell(policy=policy, overrides=overrides, cameras=1, batch_size=batch_size, gpu=None)


@contextmanager
def small_models(policy):
    """Inside, lerobot builds a small `policy`; what PaliGemma's towers hand over stays 2048 wide."""
    code = importlib.import_module(f"lerobot.policies.{policy}.modeling_{policy}")
    known = code.CONFIG_MAPPING

    def gemma(variant):
        width = 2048 if variant == "gemma_2b" else 64
        return code.GemmaConfig(width=width, depth=2, mlp_dim=32, num_heads=8, num_kv_heads=1, head_dim=8)

    def paligemma():
        vision = {
            "model_type": "siglip_vision_model", "hidden_size": 32, "num_hidden_layers": 2,
            "num_attention_heads": 2, "patch_size": 56, "vision_use_head": False,
        }  # fmt: skip
        return known["paligemma"](vision_config=vision)

    configs = {"paligemma": paligemma, "gemma": known["gemma"]}
    with ExitStack() as stack:
        stack.enter_context(mock.patch.object(code, "get_gemma_config", gemma))
        stack.enter_context(mock.patch.object(code, "CONFIG_MAPPING", configs))
        yield
