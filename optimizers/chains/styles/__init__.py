"""Styles of reasoning: each covers the four constraints of MRSI for the gold annotation of a post.

C_s: which words are names; C_t: their types; C_e: whether the image shows the very entity; C_u: where. A style is one
function `(Facts, random.Random) -> str`, and `register` adds one. No two built-in styles begin alike or share headings,
so that a small model that has begun one style does not continue in another. A box stands directly after its name, or
after `in the picture at`, where a small model looks for its owner.

Source: MCR (Ma et al., Findings of ACL 2026), section on MRSI, for the constraints; the wording of the styles is ours.
"""

from __future__ import annotations

from gmner.optimizers.chains.styles.facts import Draft, Facts, Style, allowed_signs, draft_chain, write_chain
from gmner.optimizers.chains.styles.no_reasoning import plain
from gmner.optimizers.chains.styles.registry import STYLES, TEMPLATES, register, styles_by_name, unregister

__all__ = [
    "STYLES",
    "TEMPLATES",
    "Draft",
    "Facts",
    "Style",
    "allowed_signs",
    "draft_chain",
    "plain",
    "register",
    "styles_by_name",
    "unregister",
    "write_chain",
]
