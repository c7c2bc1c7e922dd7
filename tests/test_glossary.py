"""The glossary: every term in one sentence, found by any of its names."""

from __future__ import annotations

import pytest

from actprof.errors import UsageError
from actprof.glossary import GLOSSARY, find_terms


@pytest.mark.parametrize("term", GLOSSARY)
def test_a_term_has_one_sentence(term):
    """That begins large, ends with a stop and has none between."""
    text = GLOSSARY[term]
    assert text[0].isupper() or text[0].isdigit()
    assert text.endswith(".")
    assert ". " not in text
    assert len(text) < 250


@pytest.mark.parametrize(
    ("word", "first"),
    [
        ("band", "band"),
        ("OOM", "out of memory (oom)"),
        ("fused-attention", "attention without stored maps (fused_attention)"),
        ("8-bit adamw", "8-bit AdamW (adamw_8bit)"),
        ("autocast", "mixed precision (autocast)"),
        ("gpu", "GPU busy"),
    ],
)
def test_a_term_is_found_by_any_of_its_names(word, first):
    """In any case, with hyphens or underscores; `band` is not also the bandwidth."""
    assert [first] == list(find_terms(word))


def test_a_part_of_a_name_finds_all_that_have_it():
    """Both of `gradient …`."""
    assert ["gradient checkpointing", "gradient accumulation"] == list(find_terms("gradient"))


@pytest.mark.parametrize(("word", "hint"), [("alocated", "did you mean allocated"), ("", "lists all")])
def test_a_word_that_is_no_term_names_the_nearest(word, hint):
    """Or says how to list them."""
    with pytest.raises(UsageError, match=hint):
        find_terms(word)
