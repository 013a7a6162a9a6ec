"""`differences`: what two answers to a post say differently, as remarks on the entities of both."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from gmner.data.pages.scripts import isolated
from gmner.data.prediction import Prediction
from gmner.signatures.boxes import Box
from gmner.signatures.mentions import GroundedEntity

_SAME_BOX = 0.95
"""IoU from which two boxes count as the same."""

_OTHER = "in the other answer"

Pair = tuple[GroundedEntity, GroundedEntity]


@dataclass(frozen=True, slots=True)
class Remark:
    """What sets an entity of an answer apart from the other answer.

    Attributes:
        entity: The entity.
        words: The differences in words, one each.
        absent: Whether only the other answer has the entity.
    """

    entity: GroundedEntity
    words: tuple[str, ...]
    absent: bool = False


def differences(first: Prediction, second: Prediction) -> tuple[list[Remark], list[Remark]]:
    """Compare two answers to the same post.

    Entities with the same offsets are compared with each other; of the others, those that overlap. An entity that only
    one answer has is a remark of both. So both answers have the same number of words.

    Args:
        first: An answer.
        second: The other one.

    Returns:
        The remarks on the entities of the first and of the second answer, in text order.
    """
    ones, others = _distinct(first.entities), _distinct(second.entities)
    pairs = _paired(ones, others)
    taken = {id(entity) for pair in pairs for entity in pair}
    lone = [[entity for entity in side if id(entity) not in taken] for side in (ones, others)]
    return _remarks(pairs, *lone), _remarks([(other, one) for one, other in pairs], *reversed(lone))


def region_in_words(boxes: Sequence[Box], *, several: bool) -> str:
    """The number of boxes in words; if the post has several images, also which images they are in."""
    count = {0: "not shown", 1: "boxed"}.get(len(boxes), f"{len(boxes)} boxes")
    numbers = [str(number) for number in sorted({box.picture for box in boxes})]
    if not numbers or (not several and numbers == ["1"]):
        return count
    return f"{count} in image {numbers[0]}" if len(numbers) == 1 else f"{count} in images {', '.join(numbers)}"


def _distinct(entities: Iterable[GroundedEntity]) -> list[GroundedEntity]:
    """The entities without repetitions of the same place, or of the same words if they are not in the text."""
    first = dict[object, GroundedEntity]()
    for entity in entities:
        first.setdefault(entity.key if entity.start >= 0 else entity.span, entity)
    return list(first.values())


def _paired(ones: Sequence[GroundedEntity], others: Sequence[GroundedEntity]) -> list[Pair]:
    """The entities of the two answers that are about the same words."""
    pairs, rest = list[Pair](), list(others)
    for matches in (_same_place, _overlap):
        for one in ones:
            if any(one is paired for paired, _ in pairs):
                continue
            partner = next((other for other in rest if matches(one, other)), None)
            if partner is not None:
                pairs.append((one, partner))
                rest = [other for other in rest if other is not partner]
    return pairs


def _same_place(one: GroundedEntity, other: GroundedEntity) -> bool:
    return one.key == other.key and (one.start >= 0 or one.span == other.span)


def _overlap(one: GroundedEntity, other: GroundedEntity) -> bool:
    return min(one.start, other.start) >= 0 and one.start < other.end and other.start < one.end


def _remarks(pairs: Iterable[Pair], own: Iterable[GroundedEntity], others: Iterable[GroundedEntity]) -> list[Remark]:
    """The remarks of an answer: on its pairs, on entities of its own, and on those that only the other one has."""
    compared = [Remark(one, tuple(_compared(one, other))) for one, other in pairs]
    found = [remark for remark in compared if remark.words]
    found += [Remark(entity, ("only in this answer",)) for entity in own]
    found += [Remark(entity, (f"only {_OTHER}",), absent=True) for entity in others]
    return sorted(found, key=lambda remark: (remark.entity.key, remark.entity.span))


def _compared(one: GroundedEntity, other: GroundedEntity) -> list[str]:
    words = []
    if one.span != other.span:
        words.append(f"words: “{isolated(other.span)}” {_OTHER}")
    if one.type != other.type:
        words.append(f"type: {isolated(other.type)} {_OTHER}")
    region = _other_region(one.boxes, other.boxes)
    return [*words, region] if region else words


def _other_region(boxes: Sequence[Box], others: Sequence[Box]) -> str:
    """How the boxes of the other answer differ, in words; empty if they are the same."""
    pictures, theirs = (sorted(box.picture for box in side) for side in (boxes, others))
    if pictures != theirs:
        several = any(number > 1 for number in (*pictures, *theirs))
        return f"{region_in_words(others, several=several)} {_OTHER}"
    nearest = [max(box.iou(other) for other in others) for box in boxes]
    nearest += [max(box.iou(other) for box in boxes) for other in others]
    overlap = min(nearest, default=1.0)
    if overlap >= _SAME_BOX:
        return ""
    which = "box" if len(boxes) == 1 else "boxes"
    return f"{which}: IoU {overlap:.2f} with the other answer" if overlap else f"{which}: elsewhere {_OTHER}"
