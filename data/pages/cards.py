"""A post as a card: its image, a panel for the gold annotation, and one for each answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

from gmner.data.images.opening import ImageSource
from gmner.data.pages.markup import Picture, Rect, Segment, link, picture_for_page, rects, segments
from gmner.data.pages.scripts import isolated
from gmner.data.post import Post
from gmner.data.prediction import Prediction
from gmner.data.scoring.entity_errors import Fault, post_errors
from gmner.signatures.boxes import Box
from gmner.signatures.errors import ImageError
from gmner.signatures.mentions import GroundedEntity, Mention


@dataclass(frozen=True, slots=True)
class CardRow:
    """One entity of a panel.

    Attributes:
        span: The predicted words; the gold words if the mention was missed.
        type: The entity type.
        region: Number of boxes, their images if there are several, and confidence, as text.
        faults: Error classes with their descriptions; None if there is no gold annotation.
        missed: Whether this is a gold mention without a prediction.
        link: Key that links the parts of a mention, see `gmner.data.pages.markup.link`.
        confidence: Confidence of the model, 0 to 1; None if not requested, or in the gold annotation.
    """

    span: str
    type: str
    region: str
    faults: tuple[tuple[Fault, str], ...] | None = None
    missed: bool = False
    link: str = ""
    confidence: float | None = None


@dataclass(frozen=True, slots=True)
class Panel:
    """The gold annotation of a post, or the answer of one stage; `rows` is None if there is neither.

    `rects` has the boxes of each image of the card.
    """

    title: str
    segments: Sequence[Segment]
    rects: Sequence[Sequence[Rect]]
    rows: Sequence[CardRow] | None
    gold: bool = False
    wrong: bool = False
    reasoning: str = ""
    thinking: str = ""
    error: str = ""
    stage: int | None = None
    note: str = ""


@dataclass(frozen=True, slots=True)
class CardPicture:
    """An image of a card.

    Attributes:
        picture: The image; None if it cannot be opened.
        error: Why it cannot be opened; empty if it can.
    """

    picture: Picture | None
    error: str = ""


@dataclass(frozen=True, slots=True)
class Card:
    """One post with its panels.

    Attributes:
        id: The post's id.
        slice: Its slice; may be empty.
        panels: Its panels.
        pictures: Its images in order.
        wrong: Indices of the stages whose answer has an error.
        text: The post's text, for the search.
        differ: Whether its answers differ.
    """

    id: str
    slice: str
    panels: Sequence[Panel]
    pictures: Sequence[CardPicture]
    wrong: Sequence[int] = ()
    text: str = ""
    differ: bool = False


def build_card(
    post: Post, answers: Mapping[str, Prediction], stages: Sequence[str], notes: Mapping[str, str] | None = None
) -> Card:
    """Build the card of a post with its gold annotation, if it has one, and its answers.

    Args:
        post: The post.
        answers: Stage name -> answer.
        stages: All stages in the order of their panels; stages without an answer are skipped.
        notes: Stage name -> a note to its answer.
    """
    pictures = [_open(image) for image in post.images]
    several = len(pictures) > 1
    panels = []
    if post.entities is not None:
        rows = [
            CardRow(e.span, e.type, _region(e.boxes, several=several) if post.grounded else "", link=link(e))
            for e in post.gold
        ]
        drawn = _drawn([(entity, box) for entity in post.gold for box in entity.boxes], pictures)
        panels.append(Panel("gold", segments(post.text, post.gold), drawn, rows, gold=True))
    panels += [
        replace(_stage(name, post, answers[name], pictures), stage=number, note=(notes or {}).get(name, ""))
        for number, name in enumerate(stages)
        if name in answers
    ]
    if not panels:
        panels.append(Panel("not annotated", segments(post.text, ()), _drawn((), pictures), None, gold=True))
    wrong = [index for index, name in enumerate(stages) if any(p.wrong and p.title == name for p in panels)]
    return Card(post.id, post.slice or "", panels, pictures, wrong, post.text, _differ(answers))


def _differ(answers: Mapping[str, Prediction]) -> bool:
    """Whether answers have different entities, apart from their order and confidence."""
    found = [frozenset((e.key, e.type, e.box, e.more_boxes) for e in answer.entities) for answer in answers.values()]
    return len(set(found)) > 1


def answer_card(
    text: str,
    images: Sequence[ImageSource],
    entities: Sequence[GroundedEntity],
    reasoning: str = "",
    thinking: str = "",
    *,
    grounded: bool = True,
) -> Card:
    """Build the card of an answer without gold annotation; its panel has no title.

    If it does not say what the images show (`grounded` is False), its entities are not called "not shown".
    """
    pictures = [_open(image) for image in images]
    rows = [_row(entity, several=len(pictures) > 1, grounded=grounded) for entity in entities]
    panel = replace(_panel("", text, entities, rows, pictures), reasoning=reasoning, thinking=thinking)
    return Card("", "", [panel], pictures)


def _stage(name: str, post: Post, answer: Prediction, pictures: Sequence[CardPicture]) -> Panel:
    several = len(pictures) > 1
    unjudged = post.entities is None
    plain = partial(_row, several=several, grounded=post.grounded)
    rows = list(map(plain, answer.entities)) if unjudged else _judged_rows(post, answer)
    error = f"{answer.error['kind']}: {answer.error['message']}" if answer.error else ""
    wrong = bool(error) or any(row.faults for row in rows)
    panel = _panel(name, post.text, answer.entities, rows, pictures)
    return replace(panel, wrong=wrong, reasoning=answer.reasoning, thinking=answer.thinking, error=error)


def _panel(
    title: str,
    text: str,
    entities: Sequence[GroundedEntity],
    rows: Sequence[CardRow],
    pictures: Sequence[CardPicture],
) -> Panel:
    drawn = _drawn([(entity, box) for entity in entities for box in entity.boxes], pictures)
    return Panel(title, segments(text, entities), drawn, rows)


def _drawn(boxes: Sequence[tuple[Mention, Box]], pictures: Sequence[CardPicture]) -> list[list[Rect]]:
    """The boxes of each image; those in an image that the post does not have are only mentioned in their rows."""
    return [
        rects([pair for pair in boxes if pair[1].picture == number], shown.picture) if shown.picture else []
        for number, shown in enumerate(pictures, 1)
    ]


def _judged_rows(post: Post, answer: Prediction) -> list[CardRow]:
    rows, several = [], len(post.images) > 1
    for error in post_errors(post, answer.entities):
        faults = tuple((fault, _in_words(fault, error.gold)) for fault in error.faults)
        if error.predicted is not None:
            rows.append(_row(error.predicted, faults, several=several, grounded=post.grounded))
        elif error.gold is not None:
            gold = error.gold
            rows.append(CardRow(gold.span, gold.type, "", faults, missed=True, link=link(gold)))
    return rows


def _row(
    entity: GroundedEntity,
    faults: tuple[tuple[Fault, str], ...] | None = None,
    *,
    several: bool = False,
    grounded: bool = True,
) -> CardRow:
    region = [_region(entity.boxes, several=several)] if grounded or entity.boxes else []
    region += [] if entity.confidence is None else [f"{entity.confidence:.0%}"]
    return CardRow(
        entity.span, entity.type, " · ".join(region), faults, link=link(entity), confidence=entity.confidence
    )


def _in_words(fault: Fault, gold: Mention | None) -> str:
    if gold is not None and fault is Fault.WRONG_SPAN:
        return f"{fault.label}: {isolated(gold.span)}"
    if gold is not None and fault is Fault.WRONG_TYPE:
        return f"{fault.label}: {gold.type}"
    return fault.label


def _region(boxes: Sequence[Box], *, several: bool) -> str:
    """The number of boxes in words; if the post has several images, also which images they are in."""
    count = {0: "not shown", 1: "boxed"}.get(len(boxes), f"{len(boxes)} boxes")
    numbers = [str(number) for number in sorted({box.picture for box in boxes})]
    if not numbers or (not several and numbers == ["1"]):
        return count
    return f"{count} in image {numbers[0]}" if len(numbers) == 1 else f"{count} in images {', '.join(numbers)}"


def _open(image: ImageSource) -> CardPicture:
    try:
        return CardPicture(picture_for_page(image))
    except ImageError as error:
        return CardPicture(None, error.fact)
