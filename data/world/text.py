"""Words of the world: posts in the manner of social media, tokens joined by one space."""

from __future__ import annotations

import random
from collections.abc import Sequence

from gmner.data.world.cast import Character

_ONE: dict[str, list[str]] = {
    "PER": [
        "{a} is on fire tonight", "so proud of {a}", "{a} cries at the speech", "happy birthday {a} !",
        "what did {a} just say ?", "still thinking about {a}", "can not believe {a} did that", "{a} looks tired today",
        "good morning from {a}", "my mum met {a} at the shop",
    ],
    "LOC": [
        "greetings from {a}", "{a} is lovely this time of year", "stuck in traffic near {a} again",
        "we should all move to {a}", "rain again in {a}", "one week left in {a}", "sunset over {a}",
        "the road to {a} is closed",
    ],
    "ORG": [
        "{a} never answers my mail", "big news from {a} today", "{a} is hiring again", "i trust {a} more than my bank",
        "{a} lost again", "new logo for {a} ?", "thanks {a} for the help", "shares of {a} fell",
    ],
    "OTHER": [
        "i need the {a} now", "the {a} is worth the money", "who else saw the {a} ?", "waiting in line for the {a}",
        "the {a} is back", "best day of the year : {a}", "just got my {a}", "dreaming of the {a}",
    ],
}  # fmt: skip

_TWO: dict[tuple[str, str], list[str]] = {
    ("PER", "PER"): ["{a} meets {b}", "{a} and {b} are friends again", "{a} beats {b} in five sets", "{a} > {b}"],
    ("PER", "LOC"): ["{a} just landed in {b}", "{a} plays {b} on friday", "{a} grew up in {b}", "{a} back in {b}"],
    ("PER", "ORG"): ["{a} signs with {b}", "{a} leaves {b}", "{a} of {b} wins it", "{b} fires {a}"],
    ("PER", "OTHER"): ["{a} shows off the {b}", "{a} wins the {b}", "{a} at the {b}", "{a} drops the {b}"],
    ("LOC", "LOC"): ["from {a} to {b} in one day", "{a} or {b} ?"],
    ("LOC", "ORG"): ["{b} opens in {a}", "{b} leaves {a}"],
    ("LOC", "OTHER"): ["the {b} comes to {a}", "{b} spotted near {a}"],
    ("ORG", "ORG"): ["{a} buys {b}", "{a} vs {b} tonight"],
    ("ORG", "OTHER"): ["{a} unveils the {b}", "{a} recalls the {b}"],
    ("OTHER", "OTHER"): ["{a} or {b} , that is the question", "the {a} beats the {b}"],
}  # fmt: skip

_PLAIN = [
    "what a day", "coffee first", "i can not sleep", "monday again", "who is up for lunch ?", "this made me smile",
    "no words", "send help", "it is what it is", "weekend plans : nothing",
]  # fmt: skip
_BEFORE = ["RT @ fan_{n} :", "lol", "omg", "update :", "@ user{n}", "breaking :", "ok so", "dear diary ,", "“", ""]
_AFTER = [
    "# mood", "# tbt", "http://t.co/{n}", "via @ news{n}", "😂", "❤", "!!", "...", "# love # life", "( video )", "pls",
]  # fmt: skip


def _clause(group: Sequence[Character], rng: random.Random) -> str:
    if len(group) == 1:
        return rng.choice(_ONE[group[0].type]).format(a=group[0].name)
    first, second = group
    key = (first.type, second.type)
    if key in _TWO:
        return rng.choice(_TWO[key]).format(a=first.name, b=second.name)
    return rng.choice(_TWO[second.type, first.type]).format(a=second.name, b=first.name)


def write_text(named: Sequence[Character], rng: random.Random) -> str:
    """A post that names each of `named` once and nothing else.

    Args:
        named: The entities, in any order; their order in the text may differ.
        rng: The source of randomness.
    """
    rest, clauses = list(named), []
    while rest:
        size = 2 if len(rest) > 1 and rng.random() < 0.7 else 1
        clauses.append(_clause(rest[:size], rng))
        rest = rest[size:]
    if not clauses or rng.random() < 0.25:
        clauses.insert(rng.randint(0, len(clauses)), rng.choice(_PLAIN))
    text = rng.choice([" . ", " , ", " and ", " ; "]).join(clauses)
    if rng.random() < 0.4:
        text = f"{rng.choice(_BEFORE)} {text}"
    if rng.random() < 0.5:
        text = f"{text} {rng.choice(_AFTER)}"
    return " ".join(text.replace("{n}", str(rng.randint(1, 99))).split())
