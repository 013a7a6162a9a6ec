"""Dialogues as token ids, and which tokens read which: copies, types, and what a list or a chain decides."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

from transformers import PreTrainedTokenizerFast

from gmner.data.world.cast import known
from gmner.recipes.embedded.model import IMAGE_TOKENS
from gmner.recipes.embedded.questions import Dialogue
from gmner.signatures.labels import COARSE

IMAGE_STRING = "<fake_token_around_image><global-img>" + "<image>" * IMAGE_TOKENS + "<fake_token_around_image>"
IGNORED = -100
CONTEXT = 3
"""A token so far after a name has read the words around it."""
VERDICT = 4
"""So many tokens after a name, a chain says whether it is shown."""

# The spans of an answer or a question, those with a type, and the part of a chain that lists what the image shows.
_SPAN = re.compile(r'(?:"span":"|\nEntity: )([^"<\n]*)')
_TYPED = re.compile(r'"span":"([^"]*)","type":"([A-Z]+)')
_LISTED = re.compile(r"Picture: .*?(?:\]|nothing)\.")
_EVIDENCE = re.compile(r'"evidence":"[^"]*(?=","visible":)')
_ENTITY = re.compile(r"\nEntity: (.*)<")


Gaze = tuple[int, int, list[int]]
"""Index into `GAZE_LAYERS`, a position, and the positions that it should attend to."""


@dataclass(frozen=True, slots=True)
class Encoded:
    """A dialogue as token ids.

    Attributes:
        ids: The whole dialogue, exactly as chat template and processor write it.
        labels: Equal to `ids` in the assistant messages and their end markers, `IGNORED` elsewhere.
        named: (position of the last token, words) of each name, alias or handle in the dialogue.
        copied: (position before the token, positions of that token in the post) of each token copied from the post.
        invented: The same for each invented name that an answer copies or a question asks for.
        typed: For each span with a type: the position before the type, positions `CONTEXT` tokens after the span in the
            post, and the index of the type in `COARSE`.
        matched: Gazes of what a list of the image or a chain decides, see `_matched`, `_verified` and `_decided`.
    """

    ids: list[int]
    labels: list[int]
    named: list[tuple[int, str]]
    copied: list[tuple[int, list[int]]]
    invented: list[tuple[int, str]]
    typed: list[tuple[int, list[int], int]]
    matched: list[Gaze]


class _Piece(NamedTuple):
    """A part of a dialogue: its text, the position of its first token, and the end of each token in the text."""

    text: str
    first: int
    ends: list[int]

    def at(self, place: int) -> int:
        """The position of the token that contains the character at `place`."""
        return self.first + bisect_right(self.ends, place)


def encode_dialogue(dialogue: Dialogue, tokenizer: PreTrainedTokenizerFast) -> Encoded:
    """Token ids and labels of a dialogue."""
    encoded = Encoded([], [], [], [], [], [], [])

    def add(text: str, learn: bool) -> _Piece:
        tokens = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
        ids = tokens["input_ids"]
        piece = _Piece(text, len(encoded.ids), [end for _, end in tokens["offset_mapping"]])
        encoded.named.extend((piece.at(match.end() - 1), match.group()) for match in _any_name().finditer(text))
        spans = (match for match in _SPAN.finditer(text) if match.group(1) not in surfaces())
        encoded.invented.extend((piece.at(match.end(1) - 1), match.group(1)) for match in spans)
        encoded.ids.extend(ids)
        encoded.labels.extend(ids if learn else [IGNORED] * len(ids))
        return piece

    add(f"<|im_start|>system\n{dialogue.system}<|im_end|>\n", False)
    asked: list[_Piece] = []  # the newest first
    answers: list[_Piece] = []
    for turn, (user, assistant) in enumerate(dialogue.turns):
        image = IMAGE_STRING if dialogue.with_image and turn == 0 else ""
        asked.insert(0, add(f"<|im_start|>user\n{image}{user}<|im_end|>\n<|im_start|>assistant\n", False))
        answer = add(f"{assistant}<|im_end|>", True)
        encoded.copied.extend(_copied(asked, answer, dialogue.copied))
        encoded.typed.extend(_typed(asked, answer))
        encoded.matched.extend(_matched([answer, *asked], dialogue.copied))
        encoded.matched.extend(_verified(asked[0], answer))
        encoded.matched.extend(_decided([*asked, *answers], answer, dialogue.chain))
        answers.append(answer)
        add("\n", False)
    return encoded


def _copied(asked: Sequence[_Piece], answer: _Piece, words: Sequence[str]) -> Iterator[tuple[int, list[int]]]:
    """For each token of the answer's spans and of `words` in a chain, its places in the newest message that has it."""
    spans = [match.span(1) for match in _SPAN.finditer(answer.text)]
    if words:
        listed = [match.span() for match in _LISTED.finditer(answer.text)]
        copies = [match.span() for match in _whole(words).finditer(answer.text)]
        spans += [span for span in copies if not any(begin <= span[0] < end for begin, end in listed)]
    for start, end in spans:
        word = _whole([answer.text[start:end]])
        source = next(piece for piece in asked if word.search(piece.text))
        places = [match.start() for match in word.finditer(source.text)]
        for position in range(answer.at(start), answer.at(end - 1) + 1):
            begins = answer.ends[position - answer.first - 1] if position > answer.first else 0
            yield position - 1, [source.at(place + max(begins - start, 0)) for place in places]


def _typed(asked: Sequence[_Piece], answer: _Piece) -> Iterator[tuple[int, list[int], int]]:
    """The `typed` of an answer."""
    for match in _TYPED.finditer(answer.text):
        word = _whole([match.group(1)])
        source = next(piece for piece in asked if word.search(piece.text))
        context = [source.at(place.end() - 1) + CONTEXT for place in word.finditer(source.text)]
        yield answer.at(match.start(2)) - 1, context, list(COARSE).index(match.group(2))


def _matched(pieces: Sequence[_Piece], words: Sequence[str]) -> Iterator[Gaze]:
    """Gazes of the names that a chain judges by a list.

    The last token of a name attends to the entry of its entity in the list, or to the first token if there is none.

    Args:
        pieces: The chain, and the messages before it. The first that has a list counts.
        words: What is judged.
    """
    chain = pieces[0]
    for piece in pieces if words else ():
        if listed := _LISTED.search(piece.text):
            start = listed.end() if piece is chain else 0
            for match in _whole(words).finditer(chain.text, start):
                yield 1, chain.at(match.end() - 1), _entries(piece, listed, match.group()) or [0]
            return


def _verified(asked: _Piece, answer: _Piece) -> Iterator[Gaze]:
    """The last token of the evidence attends to the name that was asked for, then to its entry in the evidence."""
    evidence, entity = _EVIDENCE.search(answer.text), _ENTITY.search(asked.text)
    if evidence and entity:
        last = answer.at(evidence.end() - 1)
        yield 0, last, [asked.at(entity.end(1) - 1)]
        yield 1, last, _entries(answer, evidence, entity.group(1)) or [0]


def _decided(before: Sequence[_Piece], answer: _Piece, chain: str) -> Iterator[Gaze]:
    """The type of a span, before the answer says whether it is shown, attends to what the chain says of the span."""
    source = next((piece for piece in before if chain and chain in piece.text), None)
    if source is None:
        return
    start = source.text.index(chain)
    for match in _TYPED.finditer(answer.text):
        *_, said = _whole([match.group(1)]).finditer(source.text, start, start + len(chain))
        type_, name = answer.at(match.start(2)), source.at(said.end() - 1)
        yield 0, type_, [answer.at(match.end(1) - 1)]
        yield 1, type_, list(range(name + 1, min(name + VERDICT, source.first + len(source.ends) - 1) + 1))


def _entries(piece: _Piece, listed: re.Match[str], words: str) -> list[int]:
    """The last tokens of the names in a list that belong to the entity called by `words`."""
    keys = surfaces().get(words, ())
    named = _any_name().finditer(piece.text, *listed.span())
    return [piece.at(name.end() - 1) for name in named if any(key in surfaces()[name.group()] for key in keys)]


def _whole(words: Iterable[str]) -> re.Pattern[str]:
    """A pattern for any of these words as whole words, preferring the longest."""
    longest_first = sorted(words, key=lambda word: -len(word))
    return re.compile(rf"(?<!\w)(?:{'|'.join(map(re.escape, longest_first))})(?!\w)")


@cache
def surfaces() -> dict[str, list[tuple[str, str]]]:
    """Names, aliases and handles of the pre-training set, each with the (name, type) of its entities."""
    called: dict[str, list[tuple[str, str]]] = {}
    for who in known():
        for words in who.surfaces:
            called.setdefault(words, []).append(who.key)
    return called


@cache
def _any_name() -> re.Pattern[str]:
    return _whole(surfaces())
