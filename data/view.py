"""Answers to look at: a self-contained HTML report, and one answer in a notebook.

Everything of a post is untrusted: the templates escape all of it, and the page's policy lets nothing load from outside
and no script run but its own.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from gmner.data.evaluation import Evaluation, Figures, percent
from gmner.data.images import ImageSource
from gmner.data.markup import Picture, Rect, Segment, colour_of, colours, link, picture_for_page, rects, segments
from gmner.data.post import Post
from gmner.data.prediction import Prediction
from gmner.data.scoring import TASKS
from gmner.data.verdicts import Fault, judge
from gmner.signatures.errors import ImageError, InputError
from gmner.signatures.mentions import GroundedEntity, Mention

if TYPE_CHECKING:
    from jinja2 import Template

Pair = tuple[Post, Mapping[str, Prediction]]


@dataclass(frozen=True, slots=True)
class Row:
    """One entity of a panel.

    Attributes:
        span: The words that were predicted, or the gold words where they were missed.
        type: The type.
        place: What the answer says about the picture, in words.
        faults: What is wrong: error classes and their words; None: there is nothing to judge by.
        missed: Whether this is a gold mention without a prediction.
        link: What it is linked by, see `gmner.data.markup.link`.
        confidence: How sure the model is, 0 to 1; None: it was not asked, or this is gold.
    """

    span: str
    type: str
    place: str
    faults: tuple[tuple[Fault, str], ...] | None = None
    missed: bool = False
    link: str = ""
    confidence: float | None = None


@dataclass(frozen=True, slots=True)
class Panel:
    """The gold annotation or one stage's answer to a post."""

    title: str
    segments: Sequence[Segment]
    rects: Sequence[Rect]
    rows: Sequence[Row]
    gold: bool = False
    wrong: bool = False
    reasoning: str = ""
    error: str = ""
    stage: int | None = None


@dataclass(frozen=True, slots=True)
class Card:
    """One post with its panels."""

    id: str
    slice: str
    panels: Sequence[Panel]
    picture: Picture | None
    picture_error: str
    wrong: Sequence[int]


def render_html(pairs: Sequence[Pair], *, title: str, scores: Mapping[str, Evaluation] | None = None) -> str:
    """A self-contained HTML page of posts with their answers.

    Every post is a card with a panel for the gold annotation (where there is one) and one for each stage: the picture
    with its boxes, the text with its spans, the entities with what is wrong about each, the reasoning folded. Above
    them the scores of the stages side by side, and filters; where answers have confidences, also a threshold: what is
    below it is left out, and what is left is scored.

    Args:
        pairs: Posts with their predictions by stage name, such as `{"before": ..., "after CVO": ...}`.
        title: Heading of the page.
        scores: Evaluations by stage name, in the order in which they are shown.

    Returns:
        The page; pictures are inlined, at most 480 pixels a side, and nothing is loaded from anywhere.

    Raises:
        InputError: There is neither a post nor a score to show.
    """
    if not pairs and not scores:
        raise InputError("There is nothing to show", accepted="posts with predictions, or scores")
    stages = list(dict.fromkeys([name for _, answers in pairs for name in answers]))
    cards = [_card(post, answers, stages) for post, answers in pairs]
    script = _source("report.js.j2")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii")
    return page_template("report.html.j2").render(
        title=title,
        cards=cards,
        stages=stages,
        judged=any(post.entities is not None for post, _ in pairs),
        slices=sorted({card.slice for card in cards if card.slice}),
        faults=_faults(cards),
        unsure=any(e.confidence is not None for _, found in pairs for a in found.values() for e in a.entities),
        tables=_tables(scores or {}),
        columns=list(scores or {}),
        types=_types(pairs),
        palette=colours(_types(pairs)),
        # The script is a file of the package, so it needs no escaping; the policy names its hash.
        script=Markup(script),
        digest=digest,
    )


def entity_html(text: str, image: ImageSource | None, entities: Sequence[GroundedEntity]) -> str:
    """One answer as an HTML fragment for a notebook.

    Args:
        text: The text of the post.
        image: Its picture, see `open_image`; None: it has none. A picture that cannot be opened is said to be so.
        entities: The answer; boxes in pixels of the original image.
    """
    picture, problem = _open(image)
    return page_template("answer.html.j2").render(
        links=sorted({link(entity) for entity in entities} - {""}),
        panel=_panel("", text, entities, [_row(entity) for entity in entities], picture),
        picture=picture,
        problem=problem,
        palette=colours({entity.type for entity in entities}),
    )


def _card(post: Post, answers: Mapping[str, Prediction], stages: Sequence[str]) -> Card:
    picture, problem = _open(post.image)
    panels = []
    if post.entities is not None:
        rows = [Row(e.span, e.type, _count(len(e.boxes)) if post.grounded else "", link=link(e)) for e in post.gold]
        boxes = [(entity, box) for entity in post.gold for box in entity.boxes]
        drawn = rects(boxes, picture) if picture else []
        panels.append(Panel("gold", segments(post.text, post.gold), drawn, rows, gold=True))
    panels += [
        replace(_stage(name, post, answers[name], picture), stage=number)
        for number, name in enumerate(stages)
        if name in answers
    ]
    wrong = [index for index, name in enumerate(stages) if any(p.wrong and p.title == name for p in panels)]
    return Card(post.id, post.slice or "", panels, picture, problem, wrong)


def _stage(name: str, post: Post, answer: Prediction, picture: Picture | None) -> Panel:
    rows = _judged_rows(post, answer) if post.entities is not None else [_row(entity) for entity in answer.entities]
    error = f"{answer.error['kind']}: {answer.error['message']}" if answer.error else ""
    wrong = bool(error) or any(row.faults for row in rows)
    return _panel(name, post.text, answer.entities, rows, picture, wrong, answer.reasoning, error)


def _panel(
    title: str,
    text: str,
    entities: Sequence[GroundedEntity],
    rows: Sequence[Row],
    picture: Picture | None,
    wrong: bool = False,
    reasoning: str = "",
    error: str = "",
) -> Panel:
    boxes = [(entity, entity.box) for entity in entities if entity.box is not None]
    drawn = rects(boxes, picture) if picture else []
    return Panel(title, segments(text, entities), drawn, rows, False, wrong, reasoning, error)


def _judged_rows(post: Post, answer: Prediction) -> list[Row]:
    rows = []
    for verdict in judge(post.gold, answer.entities):
        kept = [fault for fault in verdict.faults if post.grounded or not fault.about_regions]
        faults = tuple((fault, _in_words(fault, verdict.gold)) for fault in kept)
        if verdict.predicted is not None:
            rows.append(_row(verdict.predicted, faults))
        elif verdict.gold is not None:
            gold = verdict.gold
            rows.append(Row(gold.span, gold.type, "", faults, missed=True, link=link(gold)))
    return rows


def _row(entity: GroundedEntity, faults: tuple[tuple[Fault, str], ...] | None = None) -> Row:
    sure = "" if entity.confidence is None else f" · {entity.confidence:.0%}"
    place = _count(int(entity.visible)) + sure
    return Row(entity.span, entity.type, place, faults, link=link(entity), confidence=entity.confidence)


def _in_words(fault: Fault, gold: Mention | None) -> str:
    if gold is not None and fault is Fault.WRONG_SPAN:
        return f"{fault.label}: {gold.span}"
    if gold is not None and fault is Fault.WRONG_TYPE:
        return f"{fault.label}: {gold.type}"
    return fault.label


def _count(boxes: int) -> str:
    return {0: "not shown", 1: "boxed"}.get(boxes, f"{boxes} boxes")


def _open(image: ImageSource | None) -> tuple[Picture | None, str]:
    try:
        return picture_for_page(image), ""
    except ImageError as error:
        return None, error.fact


def _faults(cards: Sequence[Card]) -> list[Fault]:
    """The error classes that there are."""
    rows = [row for card in cards for panel in card.panels for row in panel.rows]
    found = {fault for row in rows for fault, _ in row.faults or ()}
    return [fault for fault in Fault if fault in found]


def _types(pairs: Sequence[Pair]) -> list[str]:
    found = {e.type for post, answers in pairs for e in post.gold}
    found |= {e.type for _, answers in pairs for answer in answers.values() for e in answer.entities}
    return [name for name in colours(found) if name in found]


@dataclass(frozen=True, slots=True)
class Table:
    """Figures of the stages: rows of (name, [(value, note)])."""

    caption: str
    rows: Sequence[tuple[str, Sequence[tuple[str, str]]]]


def _tables(scores: Mapping[str, Evaluation]) -> list[Table]:
    if not scores:
        return []
    every = list(scores.values())
    faults = [
        (fault.label, [(str(e.errors.get(fault, 0)), "") for e in every]) for fault in Fault if fault in every[0].errors
    ]
    names = sorted({name for e in every for name in e.by_slice})
    slices = [(_slice_name(name, every), [(_slice_f1(e.by_slice.get(name)), "") for e in every]) for name in names]
    tables = [
        Table("Scores", _score_rows(every)),
        Table("Error classes", faults),
        Table("GMNER F1 by slice (posts)", slices),
    ]
    return [table for table in tables if table.rows]


def _score_rows(every: Sequence[Evaluation]) -> list[tuple[str, Sequence[tuple[str, str]]]]:
    rows: list[tuple[str, Sequence[tuple[str, str]]]] = []
    for task in [task for task in TASKS if all(task in e.tasks for e in every)]:
        cells = [(percent(getattr(e, task).f1), "{:.1f} to {:.1f}".format(*e.intervals[task])) for e in every]
        rows.append((f"{task.upper()} F1", cells))
    if all(e.grounded for e in every):
        rows += [
            ("found of shown, %", [(percent(e.found_of_shown), "") for e in every]),
            ("boxed of absent, %", [(percent(e.boxed_of_absent), "") for e in every]),
            ("textual bias: N-F1", [(percent(e.bias.n_f1), f"{e.bias.grounded_absent} boxed") for e in every]),
        ]
    rows.append(("visual bias: N-Rate, %", [(percent(e.bias.n_rate), f"{e.bias.n_count} entities") for e in every]))
    return rows


def _slice_name(name: str, every: Sequence[Evaluation]) -> str:
    return f"{name} ({max(e.by_slice[name].posts for e in every if name in e.by_slice)})"


def _slice_f1(figures: Figures | None) -> str:
    return "-" if figures is None else percent(figures.gmner.f1)


@cache
def _environment() -> Environment:
    loader = PackageLoader("gmner.data", "templates")
    environment = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    environment.filters["colour"] = lambda name, palette: colour_of(palette, name)
    return environment


def page_template(name: str) -> Template:
    """A page of this package by its file name; whatever is put into it is escaped."""
    return _environment().get_template(name)


def _source(name: str) -> str:
    """A template's text as it stands, with the line ends under which browsers hash a script."""
    loader = _environment().loader
    if loader is None:
        raise LookupError(name)
    return loader.get_source(_environment(), name)[0]
