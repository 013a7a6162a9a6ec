"""Segmentation of a text into pieces, the smallest parts that a span can consist of, in any script.

Source: grapheme clusters as in Unicode Standard Annex 29, scripts as in Annex 24; the other rules are our own.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import accumulate
from typing import NamedTuple
from unicodedata import normalize

import regex

MAX_SPAN_WORDS = 14
"""Largest number of words and symbols of a span."""

_WORD, _CJK, _SOUTH_EAST_ASIAN = 6, 3, 2
# Length of a piece in sixths of a word: two Han characters or three Thai clusters are about as long as a word.
_UNSPACED = {"cjk": _CJK, "sea": _SOUTH_EAST_ASIAN}

_MOST_PIECES = 100
# A bound for words that are cut at every letter (`aBaBaB`). No name comes near it.

_SPACES = r"\s\x1c-\x1f\u200b"
# Everything that str.isspace() accepts, and the zero width space.

_TOKEN = regex.compile(
    rf"""
    (?P<space>[{_SPACES}]+)
    # English words that are not cut, for speed. An ASCII sign follows, which cannot belong to their last cluster.
    | (?P<plain>(?:[a-z]+|[A-Z][a-z]*+(?<!s)|[A-Z][a-z]?s)(?=[\x00-/:-@\[-^`{{-\x7f]|\Z))
    # Letters, digits and `_`. Those in emoji style (as in a keycap) are symbols.
    | (?P<run>(?:(?=[\p{{L}}\p{{N}}_])(?!.[\ufe0f\u20e3])\X)+)
    | \X
    """,
    regex.VERBOSE,
)
_CLUSTER = regex.compile(r"\X")

_CJK_SCRIPTS = r"\p{Han}\p{Hiragana}\p{Katakana}\p{Bopomofo}\p{Yi}\u30fc\uff70\u3031-\u3035"
# The prolonged sound marks of Katakana and the repeat marks belong to no single script.
_SOUTH_EAST_ASIAN_SCRIPTS = (
    r"\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}\p{Tai_Le}\p{New_Tai_Lue}\p{Tai_Tham}\p{Tai_Viet}"
    r"\p{Tibetan}\p{Javanese}\p{Balinese}"
)
SPACED_LETTER = rf"(?:(?![{_CJK_SCRIPTS}{_SOUTH_EAST_ASIAN_SCRIPTS}\p{{Hangul}}])\w)"
"""Pattern for `regex`: a word character of a script in which words are separated by spaces."""

_SPACED_SCRIPTS = (
    "Latin Greek Cyrillic Armenian Georgian Hebrew Arabic Syriac Thaana Nko Devanagari Bengali Gurmukhi Gujarati Oriya "
    "Tamil Telugu Kannada Malayalam Sinhala Ethiopic Cherokee Canadian_Aboriginal Mongolian Tifinagh Coptic Vai Adlam "
    "Ol_Chiki Meetei_Mayek"
).split()
_CLASSES = regex.compile(
    rf"(?P<digit>\p{{Nd}})|(?P<cjk>[{_CJK_SCRIPTS}])|(?P<sea>[{_SOUTH_EAST_ASIAN_SCRIPTS}])|(?P<hangul>\p{{Hangul}})"
    r"|(?P<joint>[_\u02bc])|(?P<number>\p{N})|" + "|".join(rf"(?P<{name}>\p{{{name}}})" for name in _SPACED_SCRIPTS)
)
_NO_SCRIPT, _OTHER_KINDS = "letter", frozenset({"", "digit", "joint", "cjk", "sea"})
_UPPER = regex.compile(r"[\p{Lu}\p{Lt}]")

_PARTS = regex.compile(
    r"""
    [US]{2,}U(?=S(?![USls]))              # OBAMA|S
    | [US]{2,}(?=s(?![USls]))             # NATO|s
    | [US]+(?![ls])                       # USA|Today, Team|USA
    | (?<=[US])[US](?=[ls])               # FENT|Y|xPUMA, USA|T|oday
    | [US][ls]+l(?=s(?![ls]))             # Obama|s
    | [US][ls]+ | [ls]+                   # Team|Obama, i|Phone
    """,
    regex.VERBOSE,
)
# Parts of the letters of one script. U: upper case, S: Latin S, s: Latin s, l: any other letter.

_PREFIXES = {
    "Arabic": regex.compile("[\u0648\u0641]?(?:[\u0628\u0643]|\u0644{0,2})"),
    "Hebrew": regex.compile("\u05d5?(?:\u05db?\u05e9|\u05de\u05e9)?[\u05d1\u05db\u05dc\u05de]?\u05d4?"),
    "Ethiopic": regex.compile("[\u12e8\u1260\u1208\u12a8]?"),
}
# Conjunctions, prepositions and articles that are written together with the next word, letter by letter: Arabic wa, fa,
# bi, ka, li, lil (`li` with the article); Hebrew ve, she, be, ke, le, mi, ha; Amharic ye, be, le, ke.
_SHORTEST_AFTER_PREFIX = 2  # letters


class Piece(NamedTuple):
    """A piece of a text.

    Attributes:
        start: Offset of its first character in code points.
        end: Offset after its last character.
        weight: Its length in sixths of a word.
        joined: Whether it continues the word of the piece before it. Only the first piece of a word adds to the length
            of a span.
    """

    start: int
    end: int
    weight: int = _WORD
    joined: bool = False


def is_space(character: str) -> bool:
    """Whether a character separates words: white space (also U+00A0 and U+3000), or the zero width space U+200B."""
    return character.isspace() or character == "\u200b"


@lru_cache(maxsize=32)  # the schema and the alignment of an answer need the pieces of the same text
def segment(text: str) -> tuple[Piece, ...]:
    """Split a text into pieces; together they contain every character except spaces.

    A span of an answer consists of adjacent pieces with the characters in between. A grapheme cluster (a letter with
    its combining marks, a Devanagari conjunct, a Hangul syllable, an emoji sequence, a flag) is never cut.

    - Symbols, punctuation marks and emoji are one piece each. `Durant` is therefore a span of `Durant,` and `#Durant`,
      and `Obama` of `Obama's`.
    - In scripts written without spaces (Han, Hiragana, Katakana, Thai, Lao, Khmer, Myanmar and others), every cluster
      is a piece. Where a word ends there is a question of meaning, which the model decides.
    - In Korean, every syllable is a piece, because particles follow a name without a space.
    - In Arabic, Hebrew and Ethiopic script, letters that may be a prefix (Arabic `wa`, `bi`; Hebrew `ve`, `ha`; Amharic
      `ye`) are a piece each if at least two letters follow. Whether they belong to the name, only the model can decide.
    - Other words are one piece, but are cut where the script changes, between letters and digits, at `_`, and where
      case changes (`Team|Obama`, `i|Phone`). The last of several capitals before a small letter is a piece, because it
      may belong to either side (`USA|T|oday`, `FENT|Y|x|PUMA`).
    - In Latin script, a capitalised word of at least four letters and an acronym are cut before a final `s`
      (`Obama|s`, `NATO|s`), unless another `s` precedes it. It may be a plural or a possessive whose apostrophe was
      left out, as is usual on social media. Whether it belongs to the name (`Paris`) only the model can decide.
    """
    pieces: list[Piece] = []
    for token in _TOKEN.finditer(text):
        if token.lastgroup == "run":
            pieces += _run(token[0], token.start())
        elif token.lastgroup != "space":
            weight = _WORD if token.lastgroup else _unspaced_weight(token[0][0]) or _WORD
            pieces.append(Piece(token.start(), token.end(), weight))
    return tuple(pieces)


def is_cut_in_cluster(text: str, offset: int) -> bool:
    """Whether an offset in code points is inside a grapheme cluster of the text."""
    return 0 < offset < len(text) and all(cluster.start() != offset for cluster in _CLUSTER.finditer(text))


def reaches(pieces: Sequence[Piece], words: int = MAX_SPAN_WORDS) -> list[int]:
    """For each piece, the index after the last piece of the longest span that begins with it.

    Args:
        pieces: All pieces of a text.
        words: Largest length of a span in words. Symbols and emoji count as one word each, two Han characters or kana
            as one, and three clusters of Thai and similar scripts as one. The parts of a word do not count separately.
    """
    sums = list(accumulate(0 if piece.joined else piece.weight for piece in pieces))
    limits = (words * _WORD - piece.weight + total for piece, total in zip(pieces, sums, strict=True))
    return [min(bisect_right(sums, limit, index), index + _MOST_PIECES) for index, limit in enumerate(limits)]


def length_in_words(span: str) -> float:
    """The length of a span in words, see `reaches`."""
    pieces = segment(span)
    if len(pieces) > _MOST_PIECES:
        return float("inf")
    return sum(piece.weight for piece in pieces if not piece.joined) / _WORD


def _run(run: str, offset: int) -> Iterator[Piece]:
    """The pieces of adjacent letters, digits and `_`; `offset` is the position of the run in the text."""
    clusters = _CLUSTER.findall(run)
    bounds = list(accumulate(map(len, clusters), initial=offset))
    joined = False
    for kind, first, last in _groups(clusters):
        weight = _UNSPACED.get(kind)
        for begin, end in _parts(kind, clusters[first:last]):
            yield Piece(bounds[first + begin], bounds[first + end], weight or _WORD, joined and weight is None)
            joined = weight is None


def _groups(clusters: Sequence[str]) -> Iterator[tuple[str, int, int]]:
    """Kind, first and last (excluded) index of adjacent clusters of one kind, see `_kind`."""
    current, first = "", 0
    for index, cluster in enumerate(clusters):
        kind = _kind(cluster[0])
        if kind == _NO_SCRIPT and current not in _OTHER_KINDS:
            continue  # a modifier letter of no script, such as the okina of Hawaii
        if kind != current:
            if index:
                yield current, first, index
            current, first = kind, index
    yield current, first, len(clusters)


def _parts(kind: str, clusters: Sequence[str]) -> Iterable[tuple[int, int]]:
    """Where clusters of one kind are cut: first and last (excluded) index of each part."""
    if kind in _UNSPACED or kind == "hangul":
        return ((index, index + 1) for index in range(len(clusters)))
    if kind in _OTHER_KINDS:
        return [(0, len(clusters))]
    if kind in _PREFIXES:
        return _after_prefix(_PREFIXES[kind], clusters)
    return (part.span() for part in _PARTS.finditer("".join(map(_letter, clusters))))


def _after_prefix(prefix: regex.Pattern[str], clusters: Sequence[str]) -> Iterator[tuple[int, int]]:
    """First and last (excluded) index of each letter of a prefix, and of what follows it."""
    match = prefix.match("".join(cluster[0] for cluster in clusters))
    length = max(0, min(match.end() if match else 0, len(clusters) - _SHORTEST_AFTER_PREFIX))
    yield from ((index, index + 1) for index in range(length))
    yield length, len(clusters)


@lru_cache(maxsize=4096)
def _kind(character: str) -> str:
    """Script of a character, or `digit`, `joint`, `cjk`, `sea`, or `_NO_SCRIPT`."""
    match = _CLASSES.match(character)
    kind = match.lastgroup if match else None
    return "digit" if kind == "number" else kind or _NO_SCRIPT


@lru_cache(maxsize=4096)
def _letter(cluster: str) -> str:
    """The letter of a cluster in `_PARTS`."""
    plain = normalize("NFKC", cluster)  # also full-width letters and those in mathematical fonts
    return plain if plain in ("s", "S") else "U" if _UPPER.match(plain) else "l"


def _unspaced_weight(character: str) -> int:
    """The weight of a symbol of a script written without spaces, such as the Tibetan tsheg; 0 for other symbols."""
    return _UNSPACED.get(_kind(character), 0)
