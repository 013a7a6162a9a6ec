"""Image first: what the image shows and where, then the names, then whether each name is among what is shown."""

from __future__ import annotations

import random

from gmner.optimizers.chains.styles.facts import Facts, conclusion, typed


def render(facts: Facts, rng: random.Random) -> str:
    """Like `Picture: A [...]; C [...]. Post names: A (PER), B (ORG). A: shown [...]. B: not shown.`.

    About an expression: `Picture: A [...]; C [...]. Wanted: A. A: shown [...], [...].`; about names alone, without the
    picture.
    """
    if facts.task == "grec":
        verdict = f"shown {facts.places}" if facts.targets else "not shown"
        return f"Picture: {facts.picture()}. Wanted: {facts.text}. {facts.text}: {verdict}. {conclusion(facts)}"
    verdicts = [f"{e.span}: {f'shown {facts.region(e)}' if e.visible else 'not shown'}." for e in facts.entities]
    heading = rng.choice(("Post names", "Named in the post"))
    if facts.task == "mner":
        return f"{heading}: {typed(facts.entities)}. {conclusion(facts)}"
    return " ".join(
        [f"Picture: {facts.picture()}.", f"{heading}: {typed(facts.entities)}.", *verdicts, conclusion(facts)]
    )
