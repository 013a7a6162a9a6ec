"""Mentions of named entities in a text: without region, with gold boxes, or with a predicted box."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias, TypeVar

from gmner.signatures.alignment import Alignment
from gmner.signatures.boxes import Box
from gmner.signatures.errors import InputError

EXPRESSION = "EXPRESSION"
"""The type of a referring expression, which is the only entity of its text."""

Task: TypeAlias = Literal["gmner", "mner", "grec"]
"""What a text is annotated with: names with regions, names alone, or the regions of a referring expression."""

MAIN_TASK: tuple[Task, ...] = ("gmner",)
"""The task of a program that learns no related one."""


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
        """(start, end), which identifies the occurrence of the span."""
        return (self.start, self.end)


@dataclass(frozen=True, slots=True)
class GoldEntity(Mention):
    """An annotated mention.

    Attributes:
        boxes: All correct boxes, pixels of the original image; empty if the image does not show the entity.
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
        box: Box in pixels of the original image; None if the image does not show the entity.
        alignment: How the span is aligned with the text, see `Alignment`.
        more_boxes: Further predicted boxes; only the protocol `e2e-gmner` uses them.
        confidence: Confidence in span, type and visibility, 0..1; None if not requested, or if the model has no usable
            log probabilities.

    Raises:
        InputError: The confidence is not in 0..1.
    """

    box: Box | None = None
    alignment: Alignment = Alignment.EXACT
    more_boxes: tuple[Box, ...] = ()
    confidence: float | None = None

    def __post_init__(self) -> None:
        """Check the confidence."""
        if self.confidence is not None and not 0 <= self.confidence <= 1:
            raise InputError("confidence must be from 0 to 1, or None", received=self.confidence)

    @property
    def visible(self) -> bool:
        """Whether the entity is predicted to be shown."""
        return self.box is not None

    @property
    def boxes(self) -> tuple[Box, ...]:
        """All predicted boxes, pixels of the original image; empty if the entity is not shown."""
        return () if self.box is None else (self.box, *self.more_boxes)


def expression_entity(expression: str, boxes: Sequence[Box]) -> GroundedEntity:
    """The single entity of a referring expression: its whole text, with all of its boxes.

    Args:
        expression: The text.
        boxes: Pixels of the original image; empty if the image shows nothing that is meant.
    """
    first = boxes[0] if boxes else None
    return GroundedEntity(expression, 0, len(expression), EXPRESSION, first, more_boxes=tuple(boxes[1:]))


_M = TypeVar("_M", bound=Mention)


def unique_mentions(mentions: Iterable[_M]) -> list[_M]:
    """Remove mentions with the same offsets as an earlier one.

    A grammar cannot prevent a model from repeating a mention, with the same type or another one.
    """
    first: dict[tuple[int, int], _M] = {}
    for mention in mentions:
        first.setdefault(mention.key, mention)
    return list(first.values())
