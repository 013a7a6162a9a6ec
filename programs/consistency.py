"""Self-consistency: combines several sampled answers to one post by a majority vote.

Source: self-consistency (Wang et al., 2023, arXiv 2203.11171) keeps the answer on which most reasoning chains agree. An
answer here is a list of entities, so the parts of an entity are voted on separately; the voting rules are ours.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import TypeVarTuple

from gmner.signatures.boxes import Box
from gmner.signatures.mentions import GroundedEntity, unique_mentions

More = TypeVarTuple("More")


def vote(answers: Sequence[tuple[str, Sequence[GroundedEntity], *More]]) -> tuple[str, list[GroundedEntity], *More]:
    """Combine the answers to one post by a majority vote.

    - A span (the same start and end) is kept if more than half of the answers contain it.
    - Its type is the most frequent one among these answers; ties go to the type that comes first.
    - It is shown if more than half of these answers give it a box. Its box is the one with the highest mean IoU with
      the others.
    - Its confidence is the share of all answers that contain the span with this type and this verdict.
    - The reasoning is taken from the answer that agrees best with the result, and so is what follows the entities.

    Args:
        answers: At least one: reasoning, entities and further values. A span that an answer repeats counts once.

    Returns:
        Reasoning, entities in text order, and the further values.
    """
    lists = [unique_mentions(answer[1]) for answer in answers]
    by_span: dict[tuple[int, int], list[GroundedEntity]] = {}
    for entities in lists:
        for entity in entities:
            by_span.setdefault(entity.key, []).append(entity)
    elected = [_elected(votes, len(answers)) for _, votes in sorted(by_span.items()) if 2 * len(votes) > len(answers)]
    result = {(e.key, e.type, e.visible) for e in elected}
    agreement = [len(result & {(e.key, e.type, e.visible) for e in entities}) - len(entities) for entities in lists]
    best = answers[agreement.index(max(agreement))]
    return best[0], elected, *best[2:]


def _elected(votes: Sequence[GroundedEntity], answers: int) -> GroundedEntity:
    """The entity that results from all predictions for one span."""
    kind = Counter(entity.type for entity in votes).most_common(1)[0][0]
    boxes = [entity.box for entity in votes if entity.box is not None]
    box = _middle(boxes) if 2 * len(boxes) > len(votes) else None
    agreeing = sum(entity.type == kind and entity.visible == (box is not None) for entity in votes)
    return replace(votes[0], type=kind, box=box, confidence=agreeing / answers)


def _middle(boxes: Sequence[Box]) -> Box:
    """The box with the largest total IoU with the others; the first one if there are several."""
    return max(boxes, key=lambda box: sum(box.iou(other) for other in boxes))
