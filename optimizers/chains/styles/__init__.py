"""Reasoning styles: each applies the four constraints of MRSI to the gold annotations of a post.

The constraints are C_s (which words are names), C_t (their types), C_e (whether the image shows the entity) and C_u
(where). A style is a function `(Facts, random.Random) -> str`; users can write their own. No two styles here share
their first words or their headings, so that a small model does not switch from one style to another within a chain. A
box follows its name directly, or after `in the picture at`, because a small model looks there for the entity of a box.

Source: MCR (Ma et al., Findings of ACL 2026), section on MRSI, for the constraints; the wording of the styles is ours.
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
    """An empty chain: the answer alone, the baseline of the ablation."""
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
"""Name -> template style."""
