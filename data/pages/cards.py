"""A post as a card: its image, a panel for the gold annotation, and one for each answer."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, replace

from gmner.data.images.opening import ImageSource
from gmner.data.pages.differences import Remark, differences, region_in_words
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
        missed: Whether this is a mention that the answer lacks: a gold mention, or one of the answer beside it.
        link: Key that links the parts of a mention, see `gmner.data.pages.markup.link`.
        confidence: Confidence of the model, 0 to 1; None if not requested, or in the gold annotation.
        differs: What the answer beside it says differently, see `Remark`.
    """

    span: str
    type: str
    region: str
    faults: tuple[tuple[Fault, str], ...] | None = None
    missed: bool = False
    link: str = ""
    confidence: float | None = None
    differs: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Panel:
    """The gold annotation of a post, or the answer of one stage; `rows` is None if there is neither.

    `rects` has the boxes of each image of the card. An answer is `judged` if the post is annotated, and then `wrong` if
    it has an error.
    """

    title: str
    segments: Sequence[Segment]
    rects: Sequence[Sequence[Rect]]
    rows: Sequence[CardRow] | None
    gold: bool = False
    judged: bool = False
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
        wrong: Indices of the stages whose answer is judged and has an error.
        right: Indices of the stages whose answer is judged and has none.
        text: The post's text, for the search.
        differ: Whether its answers differ.
    """

    id: str
    slice: str
    panels: Sequence[Panel]
    pictures: Sequence[CardPicture]
    wrong: Sequence[int] = ()
    right: Sequence[int] = ()
    text: str = ""
    differ: bool = False


def build_card(
    post: Post, answers: Mapping[str, Prediction], stages: Sequence[str], notes: Mapping[str, str] | None = None
) -> Card:
    """Build the card of a post with its gold annotation, if it has one, and its answers.

    Without a gold annotation, two answers are marked where they differ.

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
            CardRow(e.span, e.type, region_in_words(e.boxes, several=several) if post.grounded else "", link=link(e))
            for e in post.gold
        ]
        drawn = _drawn([(entity, box) for entity in post.gold for box in entity.boxes], pictures)
        panels.append(Panel("gold", segments(post.text, post.gold), drawn, rows, gold=True))
    given = {name: answers[name] for name in stages if name in answers}
    remarks = _remarks(given) if post.entities is None else {}
    for name, answer in given.items():
        panel = _stage(name, post, answer, pictures, remarks.get(name, ()))
        panels.append(replace(panel, stage=stages.index(name), note=(notes or {}).get(name, "")))
    if not panels:
        panels.append(Panel("not annotated", segments(post.text, ()), _drawn((), pictures), None, gold=True))
    verdicts = [(panel.stage, panel.wrong) for panel in panels if panel.judged and panel.stage is not None]
    wrong, right = ([stage for stage, is_wrong in verdicts if is_wrong is which] for which in (True, False))
    return Card(post.id, post.slice or "", panels, pictures, wrong, right, post.text, _differ(answers))


def _remarks(answers: Mapping[str, Prediction]) -> dict[str, Sequence[Remark]]:
    """The remarks of two answers by stage; none for other numbers of answers, or if one failed."""
    if len(answers) != 2 or any(answer.error for answer in answers.values()):
        return {}
    return dict(zip(answers, differences(*answers.values()), strict=True))


def _differ(answers: Mapping[str, Prediction]) -> bool:
    """Whether answers have different entities, apart from their order and confidence."""
    found = [
        frozenset((e.key, e.span, e.type, e.box, e.more_boxes) for e in answer.entities) for answer in answers.values()
    ]
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


def _stage(
    name: str, post: Post, answer: Prediction, pictures: Sequence[CardPicture], remarks: Sequence[Remark]
) -> Panel:
    judged, several = post.entities is not None, len(pictures) > 1
    plain = _remarked_rows(answer, remarks, several=several, grounded=post.grounded)
    rows = _judged_rows(post, answer) if judged else plain
    error = f"{answer.error['kind']}: {answer.error['message']}" if answer.error else ""
    wrong = judged and (bool(error) or any(row.faults for row in rows))
    differing = {remark.entity for remark in remarks}
    panel = _panel(name, post.text, answer.entities, rows, pictures, differing)
    panel = replace(panel, reasoning=answer.reasoning, thinking=answer.thinking)
    return replace(panel, judged=judged, wrong=wrong, error=error)


def _panel(
    title: str,
    text: str,
    entities: Sequence[GroundedEntity],
    rows: Sequence[CardRow],
    pictures: Sequence[CardPicture],
    differing: Container[Mention] = (),
) -> Panel:
    drawn = _drawn([(entity, box) for entity in entities for box in entity.boxes], pictures, differing)
    return Panel(title, segments(text, entities), drawn, rows)


def _drawn(
    boxes: Sequence[tuple[Mention, Box]], pictures: Sequence[CardPicture], differing: Container[Mention] = ()
) -> list[list[Rect]]:
    """The boxes of each image; those in an image that the post does not have are only mentioned in their rows."""
    return [
        rects([pair for pair in boxes if pair[1].picture == number], shown.picture, differing) if shown.picture else []
        for number, shown in enumerate(pictures, 1)
    ]


def _remarked_rows(answer: Prediction, remarks: Sequence[Remark], *, several: bool, grounded: bool) -> list[CardRow]:
    """The entities of an answer with their remarks, and before the next of them those that only the other one has."""
    words = {remark.entity: remark.words for remark in remarks if not remark.absent}
    absent = [remark for remark in remarks if remark.absent]
    rows = list[CardRow]()
    for entity in answer.entities:
        while absent and absent[0].entity.key < entity.key:
            rows.append(_absent_row(absent.pop(0)))
        rows.append(replace(_row(entity, several=several, grounded=grounded), differs=words.get(entity, ())))
    return [*rows, *map(_absent_row, absent)]


def _absent_row(remark: Remark) -> CardRow:
    entity = remark.entity
    return CardRow(entity.span, entity.type, "", missed=True, link=link(entity), differs=remark.words)


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
    region = [region_in_words(entity.boxes, several=several)] if grounded or entity.boxes else []
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


def _open(image: ImageSource) -> CardPicture:
    try:
        return CardPicture(picture_for_page(image))
    except ImageError as error:
        return CardPicture(None, error.fact)
