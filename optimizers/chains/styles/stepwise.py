"""Stepwise: one constraint after the other, each for all entities."""

from __future__ import annotations

import random

from gmner.optimizers.chains.styles.facts import Facts, conclusion, listed, placed


def render(facts: Facts, rng: random.Random) -> str:
    """Like `Names: A, B. Types: A PER, B ORG. Picture: A [...]. Shown: A. Boxes: A [...].`."""
    types = listed([f"{e.span} {e.type}" for e in facts.entities])
    parts = [f"Names: {listed([e.span for e in facts.entities])}.", f"Types: {types}."]
    if rng.random() < 0.5:
        parts.append(f"Picture: {facts.picture()}.")
    parts.append(f"Shown: {listed([e.span for e in facts.shown])}.")
    parts.append(f"Boxes: {placed(facts.shown, facts)}.")
    return " ".join([*parts, conclusion(facts)])
