"""Styles of reasoning: each states the four constraints of MRSI for the gold annotation of a post.

C_s: which words are names. C_t: their types. C_e: whether the image shows this very entity. C_u: where. A style is a
function `(Facts, random.Random) -> str`; write such a function to add a style. No two styles here have the same
beginning or the same headings, so that a small model does not switch styles within a chain. A box directly follows its
name or `in the picture at`, so that a small model can tell whose box it is.

Source: MCR (Ma et al., Findings of ACL 2026), section on MRSI, for the constraints; the styles' wording is ours.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from types import MappingProxyType

from gmner.optimizers.chains.styles import (
    elimination,
    entity_by_entity,
    picture_first,
    questions,
    stepwise,
    table,
    text_first,
)
from gmner.optimizers.chains.styles.facts import Draft, Facts, Style, allowed_signs, draft_chain, write_chain

__all__ = ["TEMPLATES", "Draft", "Facts", "Style", "allowed_signs", "draft_chain", "plain", "write_chain"]


def plain(facts: Facts, rng: random.Random) -> str:
    """An empty chain: the answer without reasoning, the baseline of the ablation."""
    return ""


TEMPLATES: Mapping[str, Style] = MappingProxyType(
    {
        "stepwise": stepwise.render,
        "entity_by_entity": entity_by_entity.render,
        "questions": questions.render,
        "text_first": text_first.render,
        "picture_first": picture_first.render,
        "elimination": elimination.render,
        "table": table.render,
    }
)
"""The template styles by name."""
