"""Self-consistency: one answer from several that a model drew for the same post.

Source: self-consistency (Wang et al., 2023, arXiv 2203.11171) keeps the answer that most chains of reasoning end in. An
answer here is a list, so each part of it is put to the vote; how is our own choice.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from gmner.signatures.boxes import Box
from gmner.signatures.mentions import GroundedEntity, unique_mentions

Drawn = tuple[str, Sequence[GroundedEntity]]
"""Reasoning and entities of one answer."""


def vote(answers: Sequence[Drawn]) -> Drawn:
    """Put answers to one post together.

    - Words are an entity when more than half of the answers name them: the same start and end.
    - Its type is the one that most of those say; the first one named, where several are as many.
    - It is shown when more than half of those box it. Its box is the one that overlaps most with the others (mean IoU).
    - Its confidence is the share of all answers that name these words with this type and this verdict.
    - The reasoning is that of the answer that agrees with most of the outcome.

    Args:
        answers: At least one. Words that an answer names several times count once.

    Returns:
        Reasoning and entities, in the order of the text.
    """
    lists = [unique_mentions(entities) for _, entities in answers]
    named: dict[tuple[int, int], list[GroundedEntity]] = {}
    for entities in lists:
        for entity in entities:
            named.setdefault(entity.key, []).append(entity)
    elected = [_elected(said, len(answers)) for _, said in sorted(named.items()) if 2 * len(said) > len(answers)]
    wanted = {(e.key, e.type, e.visible) for e in elected}
    agreeing = [len(wanted & {(e.key, e.type, e.visible) for e in entities}) - len(entities) for entities in lists]
    return answers[agreeing.index(max(agreeing))][0], elected


def _elected(said: Sequence[GroundedEntity], answers: int) -> GroundedEntity:
    """The entity of one place, from all that was said of it."""
    kind = Counter(entity.type for entity in said).most_common(1)[0][0]
    boxes = [entity.box for entity in said if entity.box is not None]
    box = _middle(boxes) if 2 * len(boxes) > len(said) else None
    agreed = sum(entity.type == kind and entity.visible == (box is not None) for entity in said)
    return replace(said[0], type=kind, box=box, confidence=agreed / answers)


def _middle(boxes: Sequence[Box]) -> Box:
    """The box that overlaps most with the others; the first of several."""
    return max(boxes, key=lambda box: sum(box.iou(other) for other in boxes))
