"""Invented entities: strangers have a name that the model can only copy, newcomers a look that it can only compare."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from functools import cache

from gmner.data.world.cast import Character, characters, handle_of, known
from gmner.data.world.clauses import CLAUSES
from gmner.data.world.looks import COLOURS, PEOPLE, SKINS
from gmner.data.world.phrases import TRIPLES

_ONSETS = "b br c ch d dr f fl g gr h j k kl l m n p pr r s sh sk st t th tr v w z".split()
_VOWELS = "a e i o u ai ea ie oo".split()
_CODAS = ("", "n", "r", "l", "s", "t", "m", "x", "nd", "rk")
_LETTERS = ("", "", "C", "K", "M", "R", "S", "T")
_SUFFIXES = ("2", "7", "9", "X", "GT", "FC", "TV", "II")


def stranger(rng: random.Random, like: Character | None = None) -> Character:
    """An invented entity that occurs only in texts, so that the model has to copy its name, and to read its type.

    Names of all types consist of the same kinds of words, so that the text around a name has to tell its type.

    Args:
        rng: Random number generator.
        like: The entity whose type and looks it has; by default a random one.
    """
    like = like or rng.choice(known())
    words = [_word(rng) for _ in range(_name_length(like, rng))]
    aliases = tuple(word for word in words if word.isalpha()) if len(words) == 2 else ()
    if like.type == "ORG" and len(words) > 1 and rng.random() < 0.3:
        aliases = ("".join(word[0].upper() for word in words) + rng.choice(_LETTERS),)
    if like.type in ("ORG", "OTHER") and rng.random() < 0.1:
        words.append(rng.choice(_SUFFIXES))
    name = " ".join(words)
    return replace(like, name=name, aliases=aliases, handle=handle_of(name, like.type))


def newcomer(rng: random.Random) -> Character:
    """An invented entity that images show: a stranger of a known kind, in colours that no entity of the world has."""
    while True:
        who = stranger(rng)
        first, second = rng.sample(list(COLOURS), 2)
        who = replace(who, colours=(first, second))
        if (who.type, who.kind, who.colours) not in _looks():
            return _dressed(who, rng) if who.type == "PER" else who


def newcomer_called(name: str, type_: str) -> Character:
    """A newcomer of a scene, which keeps only its name and its type: its kind and its colours are empty."""
    words = name.split()
    aliases = tuple(word for word in words if word.isalpha()) if len(words) == 2 else ()
    return Character(name, type_, aliases, handle_of(name, type_), "", ("", ""))


def _dressed(person: Character, rng: random.Random) -> Character:
    """The person with another skin tone, and with the garment and accessory of someone."""
    *_, garment, accessory = rng.choice(rng.choice(list(PEOPLE.values())))
    return replace(person, skin=rng.choice(list(SKINS)), garment=garment, accessory=accessory)


@cache
def _looks() -> frozenset[tuple[str, str, tuple[str, str]]]:
    return frozenset((who.type, who.kind, who.colours) for who in characters())


def _name_length(like: Character, rng: random.Random) -> int:
    """Number of words of an invented name."""
    return 2 if like.type == "PER" else rng.choices([1, 2, 3], [0.5, 0.45, 0.05])[0]


def _word(rng: random.Random) -> str:
    """A capitalised word: of random syllables, of the halves of two names, or a word of a name or a text."""
    draw = rng.random()
    if draw < 0.4:
        syllables = [rng.choice(_ONSETS) + rng.choice(_VOWELS) for _ in range(rng.randint(1, 3))]
        return ("".join(syllables) + rng.choice(_CODAS)).capitalize()
    if draw < 0.7:
        first, last = rng.sample(_words_of_names(), 2)
        word = (first[: rng.randint(2, 5)] + last[-rng.randint(2, 4) :]).capitalize()
        return word if word not in _taken() else _word(rng)
    return rng.choice(_borrowed(_words_of_names() if draw < 0.85 else _words_of_texts()))


@cache
def _words_of_names() -> tuple[str, ...]:
    return tuple(sorted({word for who in known() for word in who.name.split() if word.isalpha() and len(word) > 2}))


@cache
def _words_of_texts() -> tuple[str, ...]:
    text = " ".join(" ".join(table.values()) for table in (TRIPLES, CLAUSES))
    return tuple(sorted({word for word in text.split() if word.isascii() and word.isalpha() and len(word) > 4}))


@cache
def _borrowed(words: Sequence[str]) -> tuple[str, ...]:
    """The capitalised words without those that are taken."""
    return tuple(word.capitalize() for word in words if word.capitalize() not in _taken())


@cache
def _taken() -> frozenset[str]:
    """Names of one word, and the words of held-out names."""
    words = {surface for who in known() for surface in who.surfaces}
    return frozenset(words | {word for who in characters() if who.held_out for word in who.name.split()})
