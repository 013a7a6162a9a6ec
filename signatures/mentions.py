"""Mentions: a named entity's place in the text, alone, with its gold boxes, or with a predicted box."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeVar

from gmner.signatures.alignment import Alignment
from gmner.signatures.boxes import Box
from gmner.signatures.errors import InputError


@dataclass(frozen=True, slots=True)
class Mention:
    """A named entity in a text.

    Attributes:
        span: The words, verbatim: `text[start:end] == span`.
        start: Character offset of the first character.
        end: Character offset after the last character.
        type: A name of the label set.
    """

    span: str
    start: int
    end: int
    type: str

    @property
    def key(self) -> tuple[int, int]:
        """(start, end): which occurrence of the span this is."""
        return (self.start, self.end)


@dataclass(frozen=True, slots=True)
class GoldEntity(Mention):
    """An annotated mention.

    Attributes:
        boxes: Every valid box, pixels of the original image; empty when the image does not show the entity.
    """

    boxes: tuple[Box, ...] = ()

    @property
    def visible(self) -> bool:
        """Whether the image shows the entity."""
        return bool(self.boxes)


@dataclass(frozen=True, slots=True)
class GroundedEntity(Mention):
    """A predicted entity: mention and region.

    Attributes:
        box: Pixels of the original image, or None: the image does not show the entity.
        alignment: How the span was found in the text; see `Alignment`.
        more_boxes: Further boxes of a system that answers several; only the protocol `e2e-gmner` counts them.
        confidence: How sure the program was of words, type and verdict, 0..1; None: it was not asked to say, or the
            log probabilities of the model are unusable.

    Raises:
        InputError: A confidence outside of 0..1.
    """

    box: Box | None = None
    alignment: Alignment = Alignment.EXACT
    more_boxes: tuple[Box, ...] = ()
    confidence: float | None = None

    def __post_init__(self) -> None:
        """Check the confidence."""
        if self.confidence is not None and not 0 <= self.confidence <= 1:
            raise InputError("confidence must be in 0..1 or None", received=self.confidence, accepted="0..1, or None")

    @property
    def visible(self) -> bool:
        """Whether the program says that the image shows the entity."""
        return self.box is not None


_M = TypeVar("_M", bound=Mention)


def unique_mentions(mentions: Iterable[_M]) -> list[_M]:
    """Remove mentions with the same offsets as an earlier one; each occurrence of words is one entity.

    A grammar cannot prevent a model from repeating a mention, with the same type or with another one.
    """
    first: dict[tuple[int, int], _M] = {}
    for mention in mentions:
        first.setdefault(mention.key, mention)
    return list(first.values())
