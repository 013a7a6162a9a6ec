"""A simple, slow reference implementation of parsing and judging answers."""

from __future__ import annotations

import json
import math
from typing import Any

from gmner.optimizers.rewards.judgement import Finding, Judgement
from gmner.signatures.alignment import Alignment, occurrences
from gmner.signatures.boxes import Box
from gmner.signatures.errors import AnswerError
from gmner.signatures.labels import LabelSet
from gmner.signatures.mentions import GoldEntity, GroundedEntity
from gmner.signatures.wire import Frame


def plain_parse(text: str, post_text: str, labels: LabelSet, frame: Frame) -> tuple[GroundedEntity, ...]:
    """The entities of an answer, or an `AnswerError` with the same fact and value as in the library."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise AnswerError("The answer is not JSON", received=text, remedy=str(error)) from error
    if not isinstance(value, dict) or sorted(value) != ["entities", "reasoning"]:
        raise AnswerError("The answer is not an object with the required keys", received=text)
    if not isinstance(value["reasoning"], str):
        raise AnswerError("The reasoning must be a string", received=value["reasoning"])
    return plain_entities(value["entities"], post_text, labels, frame)


def plain_entities(records: Any, post_text: str, labels: LabelSet, frame: Frame) -> tuple[GroundedEntity, ...]:
    """The entities in the list of an answer; see `plain_parse`."""
    if not isinstance(records, list):
        raise AnswerError("The entities of an answer must be a list", received=records)
    for record in records:
        if not isinstance(record, dict) or not isinstance(record.get("span"), str):
            raise AnswerError("An entity has no span", received=record)
        if not any(record.get("type") == name for name, _ in labels.types):
            raise AnswerError("An entity has an unknown type", received=record)
    places = plain_align([record["span"] for record in records], post_text)
    for record, (_, _, alignment) in zip(records, places, strict=True):
        if alignment is Alignment.MISSING:
            raise AnswerError("A span is not in the text", received=record["span"])
    entities = []
    for record, (start, end, alignment) in zip(records, places, strict=True):
        if sorted(record) != ["box", "span", "type", "visible"] or type(record["visible"]) is not bool:
            raise AnswerError("An entity must have exactly span, type, visible and box", received=record)
        box = plain_box(record["box"], frame)
        if record["visible"] is (box is None):
            raise AnswerError("`visible` and `box` contradict each other", received=record)
        entities.append(GroundedEntity(record["span"], start, end, record["type"], box, alignment))
    return tuple(entities)


def plain_align(spans: list[str], text: str) -> list[tuple[int, int, Alignment]]:
    """See `gmner.signatures.alignment.align`."""
    taken: list[tuple[int, int]] = []
    result = []
    for span in spans:
        found = occurrences(span, text)
        apart = [p for p in found if all(p[1] <= start or end <= p[0] for start, end in taken)]
        free = apart or [p for p in found if p not in taken]
        if not found:
            result.append((-1, -1, Alignment.MISSING))
            continue
        place = free[0] if free else found[-1]
        taken.append(place)
        result.append((*place, Alignment.EXACT if free else Alignment.REUSED))
    return result


def plain_box(value: Any, frame: Frame) -> Box | None:
    """See `gmner.signatures.wire.load_box`."""
    if value is None:
        return None
    if not isinstance(value, list) or len(value) != 4 or not all(type(v) is int for v in value):
        raise AnswerError("A box must be null or four integers", received=value)
    if frame.size is None:
        raise AnswerError("A post without an image cannot have a box", received=value)
    width, height = frame.box_format.extent(frame.size, frame.resized)
    swapped = frame.box_format.order == "yxyx"
    largest = [height, width] * 2 if swapped else [width, height] * 2
    if not all(0 <= v <= most for v, most in zip(value, largest, strict=True)):
        raise AnswerError("A box has coordinates out of range", received=value)
    xyxy = [value[1], value[0], value[3], value[2]] if swapped else value
    scaled = [v / most * side for v, most, side in zip(xyxy, [width, height] * 2, [*frame.size] * 2, strict=True)]
    if scaled[2] < scaled[0] or scaled[3] < scaled[1]:
        raise AnswerError("A box has reversed corners", received=value)
    return Box(*scaled)


def plain_iou(a: Box, b: Box) -> float:
    """See `gmner.signatures.boxes.iou`."""
    if a == b:
        return 1.0
    width, height = min(a.x2, b.x2) - max(a.x1, b.x1), min(a.y2, b.y2) - max(a.y1, b.y1)
    return 0.0 if width <= 0 or height <= 0 else width * height / (a.area + b.area - width * height)


def plain_judge(entities: tuple[GroundedEntity, ...], gold: tuple[GoldEntity, ...]) -> Judgement:
    """See `gmner.optimizers.rewards.judgement.judge`."""
    findings = []
    for mention in gold:
        named = [e for e in entities if (e.start, e.end) == (mention.start, mention.end)]
        if not named:
            findings.append(Finding(bool(mention.boxes)))
            continue

        def overlap(entity: GroundedEntity, mention: GoldEntity = mention) -> float:
            return -1.0 if entity.box is None else max([plain_iou(entity.box, b) for b in mention.boxes], default=0.0)

        best = max(named, key=overlap)
        iou = 0.0 if best.box is None else overlap(best)
        right = best.type == mention.type
        findings.append(Finding(bool(mention.boxes), True, right, best.box is not None, iou))
    return Judgement(len(entities), tuple(findings))


def plain_rewards(judgement: Judgement | None, sigma: float = 0.5) -> dict[str, float | None]:
    """The five rewards."""
    if judgement is None:
        return dict.fromkeys(("count", "span", "type", "grounding", "entailment"), 0.0)
    findings, predicted = judgement.findings, judgement.n_pred
    most, total = max(predicted, len(findings)), predicted + len(findings)
    shown = [f for f in findings if f.shown]
    absent = [f for f in findings if not f.shown]
    rates = [
        sum(f.found and f.said_shown == said for f in group) / len(group)
        for group, said in ((shown, True), (absent, False))
        if group
    ]
    paid = [f.iou for f in shown if f.iou >= sigma]
    return {
        "count": 1.0 - abs(predicted - len(findings)) / most if most else 1.0,
        "span": 2.0 * sum(f.found for f in findings) / total if total else 1.0,
        "type": sum(f.type_right for f in findings) / most if most else 1.0,
        "grounding": math.fsum(paid) / len(shown) if shown else None,
        "entailment": sum(rates) / len(rates) if rates else None,
    }
