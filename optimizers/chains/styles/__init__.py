"""Styles of reasoning: each states the four constraints of MRSI for the gold annotation of a post.

C_s: which words are names. C_t: their types. C_e: whether the image shows this very entity. C_u: where. A style is a
function `(Facts, random.Random) -> str`; `register` adds one. No two styles here have the same beginning or the same
headings, so that a small model does not switch styles within a chain. A box directly follows its name or
`in the picture at`, so that a small model can tell whose box it is.

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
