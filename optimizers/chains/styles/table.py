"""A short table with one row per mention: name, type, whether it is shown, and where."""

from __future__ import annotations

import random

from gmner.optimizers.chains.styles.facts import Facts, conclusion
from gmner.signatures.mentions import GoldEntity


def render(facts: Facts, rng: random.Random) -> str:
    """`A | PER | shown | [...]; B | ORG | not shown | none`, the empty table `none`.

    About an expression: `A | shown | [...], [...]`; about names alone: `A | PER; B | ORG`.
    """
    rows = [_row(entity, facts) for entity in facts.entities]
    return f"{rng.choice(('; ', ' ; ')).join(rows) or 'none'}. {conclusion(facts)}"


def _row(entity: GoldEntity, facts: Facts) -> str:
    if facts.task == "mner":
        return f"{entity.span} | {entity.type}"
    if facts.task == "grec":
        return f"{entity.span} | {'shown' if entity.visible else 'not shown'} | {facts.places}"
    shown, where = ("shown", facts.region(entity)) if entity.visible else ("not shown", "none")
    return f"{entity.span} | {entity.type} | {shown} | {where}"
