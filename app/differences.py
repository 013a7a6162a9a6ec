"""`differences`: what two answers to a post say differently, in words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gmner.data.prediction import Prediction
from gmner.signatures.mentions import GroundedEntity, unique_mentions

_SAME_BOX = 0.95
"""IoU from which two boxes count as the same."""


@dataclass(frozen=True, slots=True)
class Difference:
    """A difference between two answers.

    Attributes:
        kind: `entity`, `span`, `type`, `visibility` or `box`.
        span: The words that it is about.
        text: The difference in words.
    """

    kind: str
    span: str
    text: str


def differences(first: Prediction, second: Prediction, names: tuple[str, str]) -> list[Difference]:
    """Compare two answers to the same post.

    Entities with the same offsets are compared with each other; of the others, those that overlap. Differences are in
    text order.

    Args:
        first: An answer.
        second: The other one.
        names: What the two are called.
    """
    ones, others = unique_mentions(first.entities), unique_mentions(second.entities)
    found = list[tuple[tuple[int, int], Difference]]()
    pairs, only_first, only_second = _paired(ones, others)
    for one, other in pairs:
        found += [(one.key, difference) for difference in _compared(one, other, names)]
    for entities, name in ((only_first, names[0]), (only_second, names[1])):
        for entity in entities:
            where = "boxed" if entity.visible else "not shown"
            text = f"only in {name}, as {entity.type}, {where}"
            found.append((entity.key, Difference("entity", entity.span, text)))
    return [difference for _, difference in sorted(found, key=lambda item: item[0])]


def _paired(
    ones: Sequence[GroundedEntity], others: Sequence[GroundedEntity]
) -> tuple[list[tuple[GroundedEntity, GroundedEntity]], list[GroundedEntity], list[GroundedEntity]]:
    """Pairs, and the entities without a partner on either side."""
    pairs, rest = list[tuple[GroundedEntity, GroundedEntity]](), list(others)
    for matches in (_same_place, _overlap):
        taken = {id(one) for one, _ in pairs}
        for one in ones:
            partner = None if id(one) in taken else next((other for other in rest if matches(one, other)), None)
            if partner is not None:
                pairs.append((one, partner))
                rest = [other for other in rest if other is not partner]
    taken = {id(one) for one, _ in pairs}
    return pairs, [one for one in ones if id(one) not in taken], rest


def _same_place(one: GroundedEntity, other: GroundedEntity) -> bool:
    return one.key == other.key and (one.start >= 0 or one.span == other.span)


def _overlap(one: GroundedEntity, other: GroundedEntity) -> bool:
    return min(one.start, other.start) >= 0 and one.start < other.end and other.start < one.end


def _compared(one: GroundedEntity, other: GroundedEntity, names: tuple[str, str]) -> list[Difference]:
    first, second = names
    found = []
    if one.span != other.span:
        found.append(Difference("span", one.span, f"“{one.span}” in {first}, “{other.span}” in {second}"))
    if one.type != other.type:
        found.append(Difference("type", one.span, f"{one.type} in {first}, {other.type} in {second}"))
    if one.box is None or other.box is None:
        if one.visible != other.visible:
            shown, hidden = (first, second) if one.visible else (second, first)
            found.append(Difference("visibility", one.span, f"boxed in {shown}, not shown in {hidden}"))
        return found
    if one.box.picture != other.box.picture:
        text = f"in image {one.box.picture} in {first}, in image {other.box.picture} in {second}"
        return [*found, Difference("box", one.span, text)]
    overlap = one.box.iou(other.box)
    if overlap < _SAME_BOX:
        text = "the boxes do not overlap" if overlap == 0 else f"the boxes have an IoU of {overlap:.2f}"
        found.append(Difference("box", one.span, text))
    return found
