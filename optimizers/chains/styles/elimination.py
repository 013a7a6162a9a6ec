"""Elimination: what is in text and image, what only the text names, and what only the image shows."""

from __future__ import annotations

import random

from gmner.optimizers.chains.styles.facts import Facts, conclusion, listed, placed, typed


def render(facts: Facts, rng: random.Random) -> str:
    """Like `Named: A (PER), B (ORG). In both: A [...]. Only named: B. Only shown: C.`."""
    both, named = f"In both: {placed(facts.shown, facts)}.", f"Only named: {listed([e.span for e in facts.absent])}."
    parts = [f"Named: {typed(facts.entities)}.", *rng.choice(((both, named), (named, both)))]
    if facts.scene is not None:
        parts.append(f"Only shown: {listed([o.name for o in facts.unnamed])}.")
    return " ".join([*parts, conclusion(facts)])
