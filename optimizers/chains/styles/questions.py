"""Questions and answers: one question for each constraint, with its answer."""

from __future__ import annotations

import random

from gmner.optimizers.chains.styles.facts import Facts, conclusion, listed


def render(facts: Facts, rng: random.Random) -> str:
    """Like `Which names? A, B. What types? A PER, B ORG. Is A shown? yes, A [...]. Is B shown? no.`.

    About an expression: `Is A shown? yes, A [...], [...].`.
    """
    if facts.task == "grec":
        verdict = f"yes, {facts.text} {facts.places}" if facts.targets else "no"
        return f"Is {facts.text} shown? {verdict}. {conclusion(facts)}"
    types = listed([f"{e.span} {e.type}" for e in facts.entities])
    asked = rng.choice(("Which names?", "Who or what is named?"))
    parts = [f"{asked} {listed([e.span for e in facts.entities])}.", f"What types? {types}."]
    for entity in facts.entities if facts.task == "gmner" else ():
        verdict = f"yes, {entity.span} {facts.region(entity)}" if entity.visible else "no"
        parts.append(f"Is {entity.span} shown? {verdict}.")
    return " ".join([*parts, conclusion(facts)])
