"""Dialogues as token ids, with the targets of the supervised attention (gazes), in padded batches."""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from functools import cache
from itertools import groupby
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.utils.data import Dataset
from transformers import PreTrainedTokenizerFast

from gmner.data.world.cast import Character, character, known
from gmner.recipes.embedded.model import IMAGE_TOKENS, coordinate_ids
from gmner.recipes.embedded.pool import Pool, Scene, item_rng
from gmner.recipes.embedded.questions import LIST_INSTRUCTION, NAME_INSTRUCTION, Dialogue, Mix, ask, likely_for
from gmner.recipes.embedded.vision import NAMES, cells_of
from gmner.signatures.labels import COARSE

IMAGE_STRING = "<fake_token_around_image><global-img>" + "<image>" * IMAGE_TOKENS + "<fake_token_around_image>"
IGNORED = -100
TYPES = tuple(COARSE)

CLUES = 8
"""Number of tokens after a mention that are clues to its type, besides the last token of the mention itself."""

# The spans of an answer, the decision about one, and where a chain or a verdict lists what the image shows.
_SPAN = re.compile(r'"span":"([^"]*)"')
_TYPED = re.compile(r'"span":"([^"]*)","type":"([^"]*)"')
_DECISION = re.compile(r'"visible":(?:true|false)')
_LISTED = re.compile(r"Picture: .*?(?:\]|nothing)\.")
_EVIDENCE = re.compile(r'"The picture shows .*?\."')
_ENTITY = "\nEntity: "


@dataclass(slots=True)
class Encoded:
    """A dialogue as token ids.

    Attributes:
        ids: The whole dialogue, exactly as chat template and processor write it.
        labels: Equal to `ids` in the assistant messages and their end markers, `IGNORED` elsewhere.
        named: (position of the last token, words) of each name, alias or handle in the dialogue.
        copied: (position before the token, positions of that token in the post) of each token copied from the post.
        read: (position before the token, words) of each token of a name that is read off the image.
        typed: (position before the type, positions of the clues to it, type) of each type in an answer.
        judged: (position before the decision, positions of the last tokens of the name) of each decision.
        verdicts: (position before the verdict, words it is about, (position of the last token, words) of each name in
            the list before it) of each verdict in words of a comparison that begins with what the image shows.
    """

    ids: list[int] = field(default_factory=list)
    labels: list[int] = field(default_factory=list)
    named: list[tuple[int, str]] = field(default_factory=list)
    copied: list[tuple[int, list[int]]] = field(default_factory=list)
    read: list[tuple[int, str]] = field(default_factory=list)
    typed: list[tuple[int, list[int], str]] = field(default_factory=list)
    judged: list[tuple[int, list[int]]] = field(default_factory=list)
    verdicts: list[tuple[int, str, list[tuple[int, str]]]] = field(default_factory=list)


class _Piece(NamedTuple):
    """A part of a dialogue: its text, the position of its first token, and the end of each token in the text."""

    text: str
    first: int
    ends: list[int]

    def at(self, place: int) -> int:
        """The position of the token that contains the character at `place`."""
        return self.first + bisect_right(self.ends, place)

    def lasts(self, words: str) -> list[int]:
        """The positions of the last token of each occurrence of some words."""
        return [self.at(match.end() - 1) for match in _whole([words]).finditer(self.text)]

    @property
    def last(self) -> int:
        """The position of its last token."""
        return self.first + len(self.ends) - 1


def encode_dialogue(dialogue: Dialogue, tokenizer: PreTrainedTokenizerFast) -> Encoded:
    """Token ids, labels and what the supervised attention needs of a dialogue."""
    encoded, names = Encoded(), _Names(dialogue.newcomers)

    def add(text: str, learn: bool) -> _Piece:
        tokens = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
        ids = tokens["input_ids"]
        piece = _Piece(text, len(encoded.ids), [end for _, end in tokens["offset_mapping"]])
        encoded.named.extend((piece.at(match.end() - 1), match.group()) for match in names.in_text(text))
        encoded.ids.extend(ids)
        encoded.labels.extend(ids if learn else [IGNORED] * len(ids))
        return piece

    add(f"<|im_start|>system\n{dialogue.system}<|im_end|>\n", False)
    asked: list[_Piece] = []  # the newest first
    said: list[_Piece] = []
    for turn, (user, assistant) in enumerate(dialogue.turns):
        image = IMAGE_STRING if dialogue.with_image and turn == 0 else ""
        asked.insert(0, add(f"<|im_start|>user\n{image}{user}<|im_end|>\n<|im_start|>assistant\n", False))
        answer = add(f"{assistant}<|im_end|>", True)
        encoded.copied.extend(_copied(asked, answer, dialogue.copied))
        encoded.read.extend(_read(answer, names, dialogue.system in (LIST_INSTRUCTION, NAME_INSTRUCTION)))
        encoded.typed.extend(_typed(asked, answer))
        encoded.verdicts.extend(_verdicts(answer, names, dialogue.copied))
        if dialogue.judging:
            encoded.judged.extend(_judged(user, asked[0], answer, said))
        said.insert(0, answer)
        add("\n", False)
    return encoded


class _Names:
    """Finds the names, aliases and handles of entities of the world and of newcomers."""

    def __init__(self, newcomers: Sequence[Character]) -> None:
        words = {words for who in newcomers for words in who.surfaces}
        self._new = _whole(words) if words else None

    def in_text(self, text: str) -> list[re.Match[str]]:
        """The names in a text, in order; a newcomer's name may contain one of the world."""
        new = list(self._new.finditer(text)) if self._new else []
        old = [
            m for m in _any_name().finditer(text) if not any(m.start() < n.end() and n.start() < m.end() for n in new)
        ]
        return sorted([*new, *old], key=lambda match: match.start())


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


def _read(answer: _Piece, names: _Names, whole: bool) -> Iterator[tuple[int, str]]:
    """For each token of a name in a list of what the image shows, the position before it and the name."""
    lists = [(0, len(answer.text))] if whole else []
    lists += [match.span() for pattern in (_LISTED, _EVIDENCE) for match in pattern.finditer(answer.text)]
    for match in names.in_text(answer.text):
        if any(begin <= match.start() < end for begin, end in lists):
            for position in range(answer.at(match.start()), answer.at(match.end() - 1) + 1):
                yield position - 1, match.group()


def _typed(asked: Sequence[_Piece], answer: _Piece) -> Iterator[tuple[int, list[int], str]]:
    """For each type in an answer, the last token of its mention in the text and the tokens after that."""
    for match in _TYPED.finditer(answer.text):
        word = _whole([match[1]])
        source = next(piece for piece in asked if word.search(piece.text))
        clues = {at for last in source.lasts(match[1]) for at in range(last, min(last + CLUES, source.last) + 1)}
        yield answer.at(match.start(2)) - 1, sorted(clues), match[2]


def _verdicts(answer: _Piece, names: _Names, spans: Sequence[str]) -> Iterator[tuple[int, str, list[tuple[int, str]]]]:
    """The verdicts in words about these spans, if the answer begins with a list of what the image shows."""
    listed = _LISTED.match(answer.text)
    if listed is None:
        return
    shown = [(answer.at(match.end() - 1), match.group()) for match in names.in_text(listed.group())]
    for span in spans:
        for match in re.finditer(rf"(?<!\w){re.escape(span)}: (?=shown|not shown)", answer.text):
            yield answer.at(match.end()) - 1, span, shown


def _judged(user: str, asked: _Piece, answer: _Piece, said: Sequence[_Piece]) -> Iterator[tuple[int, list[int]]]:
    """For each decision, the last tokens of the name it is about: in the question, and in the evidence or chain."""
    _, _, entity = user.partition(_ENTITY)
    pieces = (answer,) if entity else (*said, answer)
    for match in _DECISION.finditer(answer.text):
        before = answer.text[: match.start()]
        name = entity or (_SPAN.findall(before) or [""])[-1]
        at = answer.at(match.start())
        places = [*asked.lasts(name)[-1:], *(place for piece in pieces for place in piece.lasts(name))]
        if name and (places := [place for place in places if place < at]):
            yield at - 1, places


def _whole(words: Iterable[str]) -> re.Pattern[str]:
    """A pattern for any of these words as whole words, preferring the longest."""
    longest_first = sorted(words, key=lambda word: -len(word))
    return re.compile(rf"(?<!\w)(?:{'|'.join(map(re.escape, longest_first))})(?!\w)")


Gaze = tuple[int, int, list[int]]
"""Index into `GAZE_LAYERS`, a position, and the positions that it should attend to."""


def gazes(
    encoded: Encoded,
    scene: Scene,
    coordinates: Set[int],
    judging: bool = False,
    taken_for: Mapping[str, Character] | None = None,
) -> list[Gaze]:
    """Targets of the supervised attention.

    In the first of the `GAZE_LAYERS`, the last token of a name attends to the image tokens of its entity, and so does
    the token before each token of a name that is read off the image. In a judging dialogue, a name that is not shown
    attends to the first token; in others it has no target, so that the end-to-end answer stays biased. In the second
    layer, a coordinate attends to the name before it, a copied token to its place in the post, a type to the last token
    of its mention and the tokens after that, and a decision to the name it is about.

    Args:
        encoded: The encoded dialogue.
        scene: What the image shows; empty if there is no image.
        coordinates: Token ids of the coordinates.
        judging: See `Dialogue`.
        taken_for: The entities that names may belong to, if names that are not shown attend to what they would be taken
            for, in place of the first token.
    """
    targets: list[Gaze] = [(1, at, places) for at, places in encoded.copied]
    targets += [(1, at, clues) for at, clues, _ in encoded.typed]
    if not scene.things and not judging:
        return targets
    targets += [(1, at, places) for at, places in encoded.judged]
    for at, words, listed in encoded.verdicts if taken_for is not None else ():
        owners = [who.surfaces for who in scene.cast if words in who.surfaces]
        targets.append((1, at, [place for place, name in listed if any(name in own for own in owners)] or [0]))
    first = _first_image(encoded)
    places: dict[str, list[int]] = {}
    for key, cells in cells_of(scene.things).items():
        who = next(who for who in scene.cast if who.key == key)
        for words in who.surfaces:
            places.setdefault(words, []).extend(first + cell for cell in cells)
    targets += [(0, at, sorted(places[words])) for at, words in encoded.read if words in places]
    named = [(at, words) for at, words in encoded.named if at > first]
    for at, words in named:
        if words in places or judging:
            missed = [0] if taken_for is None else _likely(taken_for[words], scene, first)
            targets.append((0, at, sorted(places.get(words, missed))))
    ends = [at for at, _ in named]
    parts = {at for at, _ in encoded.named} | {at + 1 for at, _ in (*encoded.copied, *encoded.read)}
    for at, label in enumerate(encoded.labels):
        before = bisect_left(ends, at)
        if label in coordinates and before and at not in parts:  # the number in the name `Petal 5` is no coordinate
            targets.append((1, at - 1, [ends[before - 1]]))
    return targets


def _likely(absent: Character, scene: Scene, first: int) -> list[int]:
    """The image tokens of the things that an absent entity would be taken for; the first token if nothing is shown."""
    cells = [first + cell for key in likely_for(absent, scene) for cell in cells_of(scene.things)[key]]
    return cells or [0]


@cache
def surfaces() -> dict[str, list[tuple[str, str]]]:
    """Names, aliases and handles of the pre-training set, each with the (name, type) of its entities."""
    called: dict[str, list[tuple[str, str]]] = {}
    for who in known():
        for words in who.surfaces:
            called.setdefault(words, []).append(who.key)
    return called


def _owners(dialogue: Dialogue) -> dict[str, Character]:
    """The entity of each name, alias and handle; of several, the first."""
    new = {words: who for who in dialogue.newcomers for words in who.surfaces}
    return {**{words: character(*keys[0]) for words, keys in surfaces().items()}, **new}


@cache
def _any_name() -> re.Pattern[str]:
    return _whole(surfaces())


def _first_image(encoded: Encoded) -> int:
    """Position of the first image token: the image is the longest run of one id."""
    runs = ((len(list(run)), token) for token, run in groupby(encoded.ids))
    return encoded.ids.index(max(runs)[1])


class Dialogues(Dataset[dict[str, Any]]):
    """Dialogues in training order: item i is a new question about a scene of the pool.

    The questions of a batch come from one mix, and the mixes rotate, so that few batches hold both short and long
    dialogues.
    """

    def __init__(
        self,
        pool: Pool,
        tokenizer: PreTrainedTokenizerFast,
        mixes: Sequence[Mix],
        steps: int,
        batch: int,
        seed: int,
        *,
        blind: bool = False,
    ) -> None:
        self._blind = blind
        self._pool, self._tokenizer, self._mixes = pool, tokenizer, mixes
        self._coordinates = set(coordinate_ids(tokenizer))
        self._count, self._batch, self._seed = steps * batch, batch, seed

    def __len__(self) -> int:
        """Number of dialogues."""
        return self._count

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Token ids, labels, image features and gazes of one dialogue."""
        rng = item_rng(self._seed, index)
        place = rng.randrange(len(self._pool))
        mix = self._mixes[index // self._batch % len(self._mixes)]
        dialogue = ask(self._pool.scenes[place], rng, mix)
        encoded = encode_dialogue(dialogue, self._tokenizer)
        features = self._pool.features[place] if dialogue.with_image and self._pool.features is not None else None
        looks = gazes(
            encoded,
            self._pool.scenes[place] if dialogue.with_image else Scene(),
            self._coordinates,
            dialogue.judging,
            _owners(dialogue) if self._blind else None,
        )
        return {
            "ids": encoded.ids,
            "labels": encoded.labels,
            "features": features,
            "gazes": looks,
            "named": [(at, words) for at, words in encoded.named if words in surfaces()],
            "typed": [(at, TYPES.index(type_)) for _, clues, type_ in encoded.typed for at in clues],
        }


class PadDialogues:
    """Pads dialogues on the right. Either all dialogues of a batch have an image or none has."""

    def __init__(self, pad: int) -> None:
        self._pad = pad

    def __call__(self, items: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
        """(B, T) `input_ids` and `labels`; (B, patches, width) `features` with images."""
        longest = max(len(item["ids"]) for item in items)

        def padded(key: str, fill: int) -> torch.Tensor:
            return torch.tensor([[*item[key], *[fill] * (longest - len(item[key]))] for item in items])

        batch = {"input_ids": padded("ids", self._pad), "labels": padded("labels", IGNORED)}
        if items[0]["features"] is not None:
            batch["features"] = torch.from_numpy(np.stack([item["features"] for item in items])).float()
        named = [
            (row, at, NAMES.index(surfaces()[words][0][0]))
            for row, item in enumerate(items)
            for at, words in item["named"]
        ]
        if named:
            batch["named"] = torch.tensor(named)
        typed = [(row, at, type_) for row, item in enumerate(items) for at, type_ in item["typed"]]
        if typed:
            batch["typed"] = torch.tensor(typed)
        looks = [(row, layer, at, places) for row, item in enumerate(items) for layer, at, places in item["gazes"]]
        if looks:
            batch["gaze_from"] = torch.tensor([look[:3] for look in looks])
            batch["gaze_to"] = torch.zeros(len(looks), longest, dtype=torch.bool)
            for place, (*_, places) in enumerate(looks):
                batch["gaze_to"][place, places] = True
        return batch
