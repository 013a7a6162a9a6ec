"""Texts of the world: posts in the style of social media, with tokens joined by one space."""

from __future__ import annotations

import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

from gmner.data.world import phrases
from gmner.data.world.cast import Character
from gmner.data.world.clauses import CLAUSES

LONGEST = 28
"""Maximum number of tokens of a post."""

SHORTEST = 4
"""Minimum number of tokens of a post."""

_ADJACENT = 0.065
_ORDINARY = 0.08
_TYPES = ("PER", "LOC", "ORG", "OTHER")
_CLUBS = frozenset({"Polaris FC", "Vector United", "Northgate", "Hartway", "Flashpoint", "Rainmaker"})
_WARES = frozenset({"phone", "car", "guitar", "cup"})
_MENTION = re.compile(r"\{([abc])(?::(\w+))?\}")
_ENDS = (".", "!", "?", "...")
_NUMBERS: Mapping[str, tuple[int, int]] = {"{n}": (11, 99), "{k}": (2, 9), "{year}": (1985, 2024)}
_WORDS: Mapping[str, Sequence[str]] = {"{emo}": phrases.EMOJI, "{kin}": phrases.KIN, "{day}": phrases.DAYS}


@dataclass(frozen=True, slots=True)
class Said:
    """A mention: the entity, and the character offsets of its words."""

    who: Character
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Written:
    """A post's text and its mentions in text order."""

    text: str
    said: tuple[Said, ...]


class _Mention(NamedTuple):
    who: Character
    surface: str


_Token = str | _Mention
_Clause = tuple[str | int, ...]
"""Words, slots such as `{day}`, and the indices of mentions."""


def write_text(named: Sequence[Character], rng: random.Random) -> Written:
    """Write a post that mentions each entity of `named` once, and no others.

    The post has `SHORTEST` to `LONGEST` tokens. A mention is the name, an alias or the handle, and consists of whole
    tokens. Outside of mentions, words of names occur only as ordinary words, as in "a comet over the hills".

    Args:
        named: Up to six entities; their order in the text is random. An entity that occurs twice is mentioned twice.
        rng: Random number generator.
    """
    mentions = _called(named, rng)
    for _ in range(4):
        tokens = _body(mentions, rng)
        if _length(tokens) <= LONGEST:
            break
    else:
        tokens = _enumerated(mentions, "&", rng)
    return _written(_framed(_styled(tokens, rng), rng))


def _called(named: Sequence[Character], rng: random.Random) -> list[_Mention]:
    """Choose the words of each mention, in random order; repeated mentions usually have the same words."""
    first: dict[Character, str] = {}
    mentions = []
    for who in rng.sample(named, len(named)):
        surface = first.get(who)
        if surface is None or rng.random() < 0.25:
            surface = _surface(who, rng)
        first.setdefault(who, surface)
        mentions.append(_Mention(who, surface))
    return mentions


def _surface(who: Character, rng: random.Random) -> str:
    draw = rng.random()
    if draw < 0.12:
        return who.handle
    return rng.choice(who.aliases) if draw < 0.30 and who.aliases else who.name


def _body(mentions: Sequence[_Mention], rng: random.Random) -> list[_Token]:
    """Write and join the clauses of a post."""
    rest, clauses = list(mentions), list[list[_Token]]()
    if len(rest) > 1 and rest[0].who != rest[1].who and rng.random() < _ADJACENT:
        clauses.append(_clause(rest[:2], phrases.NEXT, rng))
        rest = rest[2:]
    while rest:
        size = _size(rest, rng)
        clauses.append(_clause(rest[:size], _TABLES[size], rng) if size < 4 else _list(rest[:size], rng))
        rest = rest[size:]
    rng.shuffle(clauses)
    if not mentions:
        clauses.append(_filled(rng.choice(_lines(phrases.EMPTY)), (), rng))
    if rng.random() < (0.45, 0.3, 0.2, 0.1)[min(len(clauses) - 1 + (not mentions), 3)]:
        clauses.insert(rng.randint(0, len(clauses)), _filled(rng.choice(_lines(phrases.FILLERS)), (), rng))
    if rng.random() < _ORDINARY:
        clauses.insert(rng.randint(0, len(clauses)), _ordinary(mentions, rng))
    return _joined(clauses, rng)


def _size(rest: Sequence[_Mention], rng: random.Random) -> int:
    """Draw how many of the first mentions of `rest` the next clause contains; it never contains an entity twice."""
    distinct = 1
    while distinct < len(rest) and rest[distinct].who not in [m.who for m in rest[:distinct]]:
        distinct += 1
    if distinct > 3 and rng.random() < 0.5:
        return distinct
    if distinct > 2 and rng.random() < 0.5:
        return 3
    return 2 if distinct > 1 and rng.random() < 0.75 else 1


def _clause(mentions: Sequence[_Mention], table: Mapping[tuple[str, ...], str], rng: random.Random) -> list[_Token]:
    ordered = sorted(mentions, key=lambda m: _TYPES.index(m.who.type))
    types = tuple(m.who.type for m in ordered)
    return _filled(rng.choice(_fitting(table[types], tuple(_group(m.who) for m in ordered))), ordered, rng)


def _list(mentions: Sequence[_Mention], rng: random.Random) -> list[_Token]:
    types = {m.who.type for m in mentions}
    return _enumerated(mentions, rng.choice(_frames(types.pop() if len(types) == 1 else "")), rng)


def _enumerated(mentions: Sequence[_Mention], frame: str, rng: random.Random) -> list[_Token]:
    """Join mentions with commas or other signs, in place of the star of `frame`, or after it."""
    comma, last = rng.choice([(",", "and"), (",", ","), (",", "&"), ("/", "/"), ("+", "+"), ("|", "|")])
    row: list[_Token] = []
    for index, mention in enumerate(mentions):
        row += [last if index == len(mentions) - 1 else comma] * (index > 0) + [mention]
    before, _, after = frame.partition("*")
    return [*before.split(), *row, *after.split()]


def _ordinary(mentions: Sequence[_Mention], rng: random.Random) -> list[_Token]:
    """A clause with a word of a name as an ordinary word; the word is in no name of the mentioned entities."""
    taken = {word.lower() for m in mentions for surface in m.who.surfaces for word in surface.split()}
    free = [clauses for word, clauses in phrases.PLAIN.items() if word not in taken]
    clauses = [clause for clause in rng.choice(free).split("|") if not taken.intersection(clause.split())]
    return _filled(_parsed(rng.choice(clauses)), (), rng) if clauses else _ordinary(mentions, rng)


def _joined(clauses: Sequence[list[_Token]], rng: random.Random) -> list[_Token]:
    tokens = list(clauses[0])
    for clause in clauses[1:]:
        if tokens[-1] not in _ENDS:
            tokens.append(rng.choice(phrases.CONNECTORS))
        tokens += clause
    if tokens[-1] not in _ENDS and rng.random() < 0.35:
        tokens.append(rng.choice(_ENDS[:2]))
    return tokens


def _filled(clause: _Clause, mentions: Sequence[_Mention], rng: random.Random) -> list[_Token]:
    """Fill in the mentions and slots of a clause."""
    tokens: list[_Token] = []
    for token in clause:
        if isinstance(token, int):
            mention = mentions[token]
            if mention.surface.startswith("@the") and tokens and tokens[-1] == "the":
                tokens.pop()
            tokens.append(mention)
        else:
            tokens += _slot(token, rng).split() if token[0] == "{" else [token]
    return tokens


def _slot(name: str, rng: random.Random) -> str:
    """Draw the words of a slot."""
    match name:
        case "{hour}":
            return f"{rng.randint(1, 12)} {rng.choice(['am', 'pm', 'pm', ': 30'])}"
        case "{score}":
            return f"{rng.randint(1, 5)} - {rng.randint(0, 3)}"
        case "{link}":
            return "http://t.co/" + "".join(rng.choices("abcdefghijkmnpqrstuvwxyz23456789", k=rng.randint(2, 5)))
        case "{acc}":
            return f"@{rng.choice(phrases.ACCOUNTS)}{rng.choice(['_', ''])}{rng.randint(1, 999)}"
        case "{tag}":
            return "#" + rng.choice(phrases.TAGS)
    if name in _NUMBERS:
        return str(rng.randint(*_NUMBERS[name]))
    return rng.choice(_WORDS[name])


def _styled(tokens: list[_Token], rng: random.Random) -> list[_Token]:
    """Vary the style of the body: capitals, abbreviations, typos. Mentions are not changed."""
    if rng.random() < 0.12:
        tokens = [phrases.SHORT.get(t, t) if isinstance(t, str) and rng.random() < 0.7 else t for t in tokens]
    if rng.random() < 0.05:
        tokens = _mistyped(tokens, rng)
    draw = rng.random()
    if draw < 0.4:
        return [_capital(t) if not i or tokens[i - 1] in _ENDS else t for i, t in enumerate(tokens)]
    if draw < 0.44:
        return [t.upper() if isinstance(t, str) and not t.startswith(("@", "#", "http")) else t for t in tokens]
    return tokens


def _capital(token: _Token) -> _Token:
    return token if isinstance(token, _Mention) else token[:1].upper() + token[1:]


def _mistyped(tokens: list[_Token], rng: random.Random) -> list[_Token]:
    """Swap two letters in one longer word."""
    indices = [i for i, t in enumerate(tokens) if isinstance(t, str) and t.isalpha() and len(t) > 4]
    if not indices:
        return tokens
    index = rng.choice(indices)
    word = str(tokens[index])
    cut = rng.randint(1, len(word) - 3)
    return [*tokens[:index], word[:cut] + word[cut + 1] + word[cut] + word[cut + 2 :], *tokens[index + 1 :]]


def _framed(body: list[_Token], rng: random.Random) -> list[_Token]:
    """Add quotation marks, an opener and a closer to the body if they fit."""
    tokens = ["“", *body, "”"] if rng.random() < 0.04 and _length(body) + 2 <= LONGEST else body
    if rng.random() < 0.42:
        opener = _filled(rng.choice(_lines(phrases.OPENERS)), (), rng)
        tokens = _if_short([*opener, *tokens], tokens)
    if rng.random() < 0.55:
        closer = _filled(rng.choice(_lines(phrases.CLOSERS)), (), rng)
        tokens = _if_short([*tokens, *closer], tokens)
    while _length(tokens) < SHORTEST:
        tokens = [*tokens, _slot("{tag}", rng)]
    return tokens


def _if_short(longer: list[_Token], tokens: list[_Token]) -> list[_Token]:
    return longer if _length(longer) <= LONGEST else tokens


def _length(tokens: Sequence[_Token]) -> int:
    return sum(1 if isinstance(t, str) else 1 + t.surface.count(" ") for t in tokens)


def _written(tokens: Sequence[_Token]) -> Written:
    """Join the tokens, and compute the offsets of the mentions."""
    mentions, words, offset = [], [], 0
    for token in tokens:
        word = token if isinstance(token, str) else token.surface
        if isinstance(token, _Mention):
            mentions.append(Said(token.who, offset, offset + len(word)))
        words.append(word)
        offset += len(word) + 1
    return Written(" ".join(words), tuple(mentions))


_TABLES: Mapping[int, Mapping[tuple[str, ...], str]] = {1: CLAUSES, 2: CLAUSES, 3: phrases.TRIPLES}


def _group(who: Character) -> str:
    """The group of an entity that clauses can require; empty if its type has no groups."""
    if who.group:
        return who.group
    if who.type == "ORG":
        return "club" if who.name in _CLUBS else "firm"
    if who.type == "OTHER":
        return "prize" if who.kind == "trophy" else "ware" if who.kind in _WARES else "craft"
    return ""


@cache
def _fitting(block: str, groups: tuple[str, ...]) -> tuple[_Clause, ...]:
    """The clauses of a block that these groups of mentions satisfy."""

    def fits(line: str) -> bool:
        required = [("abc".index(letter), group) for letter, group in _MENTION.findall(line)]
        return all(not group or groups[index] == group for index, group in required)

    return tuple(_parsed(line) for line in block.strip().splitlines() if fits(line))


@cache
def _lines(block: str) -> tuple[_Clause, ...]:
    return tuple(map(_parsed, block.strip().splitlines()))


@cache
def _frames(type_: str) -> tuple[str, ...]:
    return tuple(phrases.LISTS[type_].strip().splitlines())


@cache
def _parsed(line: str) -> _Clause:
    matches = [(word, _MENTION.fullmatch(word)) for word in line.split()]
    return tuple("abc".index(match[1]) if match else word for word, match in matches)
