"""What lerobot's policies ask of the Hugging Face Hub, answered without it: shapes need no weights.

A configuration comes from the user's own cache if it is there, else from the policy's file, else from the
Hub; weights, processors and tokenizers never do. Of a tokenizer only the number of tokens matters.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any
from unittest import mock

import torch

from actprof.cell import Cell
from actprof.errors import UsageError


class Tokens:
    """Stands where a tokenizer does, or a processor that has one.

    Args:
        per_task: tokens of each text; 0: as many as there may be.
        ids: of the special tokens that a policy asks for, by attribute or text; any other is 1.
    """

    def __init__(self, per_task: int, **ids: int) -> None:
        self._per_task = per_task
        self.tokenizer = self
        self.pad_token_id, self.bos_token_id, self.eos_token_id = 0, 2, 1
        vars(self).update(ids)

    def __call__(
        self, text: Any, *, max_length: int | None = None, padding: Any = False, **_options: Any
    ) -> Any:
        """Return the ids and mask, int64 (texts, tokens), of the texts of one batch."""
        from transformers import BatchEncoding

        most = max_length or self._per_task
        tokens = most if padding == "max_length" else min(self._per_task or most, most)
        shape = (1 if isinstance(text, str) else len(text), tokens)
        ids = torch.zeros(shape, dtype=torch.int64)
        return BatchEncoding({"input_ids": ids, "attention_mask": torch.ones(shape, dtype=torch.int64)})

    def convert_tokens_to_ids(self, tokens: Any) -> Any:
        """Return the id of a token, or those of several."""
        return 1 if isinstance(tokens, str) else [1] * len(tokens)


@contextmanager
def without_hub(
    cell: Cell, models: Mapping[str, Mapping[str, Any]], tokens: Callable[[Cell], Any]
) -> Iterator[None]:
    """Inside, transformers builds models from configurations and gives out stand-ins for tokenizers.

    Args:
        cell: of the run.
        models: configurations by the name of their repository, as its `config.json` has them.
        tokens: makes the stand-in of every tokenizer and processor.

    Raises:
        UsageError: on building a model whose configuration is neither here nor to be had from the Hub.
    """
    import transformers
    from transformers.models.auto.auto_factory import _BaseAutoModelClass

    config_of = transformers.PreTrainedConfig.get_config_dict
    given = tokens(cell)
    with ExitStack() as stack:

        def answer(owner: Any, function: Callable[..., Any], name: str = "from_pretrained") -> None:
            stack.enter_context(mock.patch.object(owner, name, classmethod(function)))

        answer(transformers.PreTrainedConfig, partial(_config, config_of, models), "get_config_dict")
        answer(transformers.PreTrainedModel, partial(_model, transformers))
        for kind in _BaseAutoModelClass.__subclasses__():
            answer(kind, partial(_model, transformers))
        for giver in (transformers.AutoTokenizer, transformers.AutoProcessor):
            answer(giver, lambda *_, **__: given)
        yield


def _config(
    ask: Callable[..., Any], models: Mapping[str, Mapping[str, Any]], _owner: Any, name: Any, **options: Any
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Do what `PreTrainedConfig.get_config_dict` does."""
    known = models.get(str(name))
    try:
        found, rest = ask(name, **{**options, "local_files_only": known is not None})
    except OSError as error:
        if known is None:
            raise UsageError(
                f"the configuration of {name} is neither in the Hugging Face cache nor to be had from the Hub"
            ) from error
    else:
        return dict(found), rest
    used = {"cache_dir", "force_download", "proxies", "token", "local_files_only", "revision", "subfolder"}
    rest = {key: value for key, value in options.items() if key not in used and key[0] != "_"}
    return {**known}, rest


def _model(transformers: Any, owner: Any, name: Any, *_args: Any, config: Any = None, **options: Any) -> Any:
    """Build a model as `from_pretrained` does, with the dtype that was asked for, without its weights."""
    if config is None:
        kind = getattr(owner, "config_class", None) or transformers.AutoConfig
        config = kind.from_pretrained(name)
    dtype = options.get("dtype", options.get("torch_dtype"))
    chosen = {} if dtype in (None, "auto") else {"dtype": dtype}
    if options.get("attn_implementation"):
        chosen["attn_implementation"] = options["attn_implementation"]
    taken = inspect.signature(owner.__init__).parameters
    for option in options.keys() - {"dtype", "torch_dtype", "attn_implementation"}:
        if option in taken:
            chosen[option] = options[option]
        elif hasattr(config, option):
            setattr(config, option, options[option])
    build = getattr(owner, "_from_config", None) or owner.from_config
    return build(config, **chosen).eval()
