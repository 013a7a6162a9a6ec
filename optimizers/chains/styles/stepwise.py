"""Stepwise: one constraint after the other, each for all entities."""

from __future__ import annotations

import random

from gmner.optimizers.chains.styles.facts import Facts, conclusion, listed, placed


def render(facts: Facts, rng: random.Random) -> str:
    """Like `Names: A, B. Types: A PER, B ORG. Picture: A [...]. Shown: A. Boxes: A [...].`.

    About an expression: `Expression: A. It is shown. Boxes: [...], [...].`.
    """
    if facts.task == "grec":
        verdict = "It is shown." if facts.shown else "It is not shown."
        return f"Expression: {facts.text}. {verdict} Boxes: {facts.places}. {conclusion(facts)}"
    types = listed([f"{e.span} {e.type}" for e in facts.entities])
    parts = [f"Names: {listed([e.span for e in facts.entities])}.", f"Types: {types}."]
    if facts.task == "mner":
        return " ".join([*parts, conclusion(facts)])
    if rng.random() < 0.5:
        parts.append(f"Picture: {facts.picture()}.")
    parts.append(f"Shown: {listed([e.span for e in facts.shown])}.")
    parts.append(f"Boxes: {placed(facts.shown, facts)}.")
    return " ".join([*parts, conclusion(facts)])
