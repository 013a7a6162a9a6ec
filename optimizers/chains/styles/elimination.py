"""Elimination: what is in text and image, what only the text names, and what only the image shows."""

from __future__ import annotations

import random

import regex

from gmner.optimizers.chains.styles.facts import Facts, conclusion, listed, placed, typed

_OTHERS = 4
_WORD = r"[\w\p{M}]+"


def render(facts: Facts, rng: random.Random) -> str:
    """Like `Named: A (PER), B (ORG). In both: A [...]. Only named: B. Only shown: C.`.

    About an expression: `Meant: A. In both: A [...], [...]. Only named: none.`; about names alone:
    `Named: A (PER), B (ORG). Other words: C, D.`.
    """
    if facts.task == "mner":
        return f"Named: {typed(facts.entities)}. Other words: {_others(facts)}. {conclusion(facts)}"
    if facts.task == "grec":
        both, only = (f"{facts.text} {facts.places}", "none") if facts.targets else ("none", facts.text)
        return f"Meant: {facts.text}. In both: {both}. Only named: {only}. {conclusion(facts)}"
    both, named = f"In both: {placed(facts.shown, facts)}.", f"Only named: {listed([e.span for e in facts.absent])}."
    parts = [f"Named: {typed(facts.entities)}.", *rng.choice(((both, named), (named, both)))]
    if facts.scene is not None:
        parts.append(f"Only shown: {listed(dict.fromkeys(o.name for o in facts.unnamed))}.")
    return " ".join([*parts, conclusion(facts)])


def _others(facts: Facts) -> str:
    """The first capitalised words of the post that belong to no name, do not occur in one, and are no type."""
    named = {word for entity in facts.entities for word in _words(entity.span)} | {*facts.labels}
    found = [
        word[0]
        for word in regex.finditer(_WORD, facts.text)
        if not any(word.start() < entity.end and entity.start < word.end() for entity in facts.entities)
    ]
    return listed([word for word in dict.fromkeys(found) if word[0].isupper() and word not in named][:_OTHERS])


def _words(text: str) -> list[str]:
    return regex.findall(_WORD, text)
