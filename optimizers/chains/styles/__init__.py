"""Styles of reasoning: each walks the four constraints of MRSI over the gold of a post.

C_s: which words are names; C_t: of what type; C_e: does the picture show the very thing; C_u: where. A style is one
function `(Facts, random.Random) -> str`; a user adds a style by writing one. No two styles here begin alike or share
their headings, so that a small model that has begun one does not go on in another; a box stands right behind its name,
or behind `in the picture at`, where a small model looks for whose it is.

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
    """No reasoning: the answer alone, the baseline of the ablation."""
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
