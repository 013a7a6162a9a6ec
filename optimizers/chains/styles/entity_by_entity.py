"""Entity by entity: all four constraints for one entity after the other."""

from __future__ import annotations

import random

from gmner.optimizers.chains.styles.facts import Facts, conclusion
from gmner.signatures.mentions import GoldEntity


def render(facts: Facts, rng: random.Random) -> str:
    """Like `A is PER, in the picture at [...]. B is ORG, not in the picture, which shows C instead.`.

    About an expression: `A is in the picture at [...], [...].`.
    """
    if facts.task == "grec":
        return f"{facts.text} is {_where(facts)}. {conclusion(facts)}"
    if not facts.entities:
        return f"No name is in the post. {conclusion(facts)}"
    instead = rng.random() < 0.5
    sentences = [_sentence(entity, facts, instead) for entity in facts.entities]
    return " ".join([*sentences, conclusion(facts)])


def _where(facts: Facts) -> str:
    return f"in the picture at {facts.places}" if facts.targets else "not in the picture"


def _sentence(entity: GoldEntity, facts: Facts, instead: bool) -> str:
    if facts.task == "mner":
        return f"{entity.span} is {entity.type}."
    if entity.visible:
        return f"{entity.span} is {entity.type}, in the picture at {facts.region(entity)}."
    other = facts.instead(entity) if instead else None
    return f"{entity.span} is {entity.type}, not in the picture{f', which shows {other} instead' if other else ''}."
