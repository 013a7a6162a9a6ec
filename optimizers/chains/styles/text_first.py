"""Text first: the names of the post and their types, then whether the image shows each of them."""

from __future__ import annotations

import random

from gmner.optimizers.chains.styles.facts import Facts, conclusion, typed
from gmner.signatures.mentions import GoldEntity


def render(facts: Facts, rng: random.Random) -> str:
    """Like `The post names A (PER), B (ORG). A [...] is there; B is not there.`.

    About an expression: `The words mean A. A [...], [...] is there.`.
    """
    if facts.task == "grec":
        where = f" {facts.places} is there" if facts.targets else " is not there"
        return (
            f"{rng.choice(('The words mean', 'In the words:'))} {facts.text}. {facts.text}{where}. {conclusion(facts)}"
        )
    begin = rng.choice(("The post names", "In the post:"))
    looked = "; ".join(_presence(entity, facts) for entity in facts.entities if facts.task == "gmner")
    parts = [f"{begin} {typed(facts.entities)}.", *([f"{looked}."] if looked else []), conclusion(facts)]
    return " ".join(parts)


def _presence(entity: GoldEntity, facts: Facts) -> str:
    return f"{entity.span} {facts.region(entity)} is there" if entity.visible else f"{entity.span} is not there"
