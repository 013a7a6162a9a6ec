"""Questions and answers: one question for each constraint, with its answer."""

from __future__ import annotations

import random

from gmner.optimizers.chains.styles.facts import Facts, conclusion, listed


def render(facts: Facts, rng: random.Random) -> str:
    """Like `Which names? A, B. What types? A PER, B ORG. Is A shown? yes, A [...]. Is B shown? no.`."""
    types = listed([f"{e.span} {e.type}" for e in facts.entities])
    asked = rng.choice(("Which names?", "Who or what is named?"))
    parts = [f"{asked} {listed([e.span for e in facts.entities])}.", f"What types? {types}."]
    for entity in dict.fromkeys(facts.entities):
        verdict = f"yes, {entity.span} {facts.region(entity)}" if entity.visible else "no"
        parts.append(f"Is {entity.span} shown? {verdict}.")
    return " ".join([*parts, conclusion(facts)])
