"""Answers to look at: a self-contained HTML report.

Everything of a post is untrusted: the templates escape all of it, and the page's policy lets nothing load from outside
and no script run but its own.
"""

from __future__ import annotations

import base64
import hashlib
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, runtime_checkable

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from gmner.data.files.atomic import whole_text
from gmner.data.listing import counted
from gmner.data.pages.cards import Card, build_card
from gmner.data.pages.markup import colour_of, colours
from gmner.data.post import Post
from gmner.data.prediction import Prediction, Predictions
from gmner.data.scoring.entity_errors import Fault
from gmner.data.scoring.evaluation import Evaluation, Figures, percent
from gmner.data.scoring.pairing import TASKS
from gmner.signatures.errors import InputError

if TYPE_CHECKING:
    from jinja2 import Template

_SURROGATE = re.compile("[\ud800-\udfff]")

Pair = tuple[Post, Mapping[str, Prediction]]


@runtime_checkable
class Answered(Protocol):
    """A post with its answer, such as a program returns it."""

    def as_pair(self) -> tuple[Post, Prediction]:
        """The post that was answered, and the answer."""


Item: TypeAlias = Post | Prediction | Answered | Pair


def save_html(
    shown: Item | Evaluation | Sequence[Item], path: str | os.PathLike[str], *, title: str | None = None
) -> Path:
    """Write a page of what is shown, see `render_html`; the file appears whole or not at all.

    Args:
        shown: An answer of a program, a post, a list of posts, the answers of `batch_posts` (beside their posts), one
            `Prediction` (text alone), pairs as `render_html` takes them, or an evaluation (its scores alone).
        path: The file, replaced if it is there.
        title: Heading of the page; None: the name of the file.

    Returns:
        The path.

    Raises:
        InputError: There is nothing to show, or it is nothing that can be shown.
    """
    path = Path(path)
    scores = {"answers": shown} if isinstance(shown, Evaluation) else None
    pairs = [] if isinstance(shown, Evaluation) else pairs_of(shown)
    page = render_html(pairs, title=title or path.stem, scores=scores)
    with whole_text(path) as file:
        file.write(page)
    return path


def pairs_of(shown: Item | Sequence[Item]) -> list[Pair]:
    """Posts with their answers under the name `answer`; an answer whose post is not known stands with its text alone.

    Raises:
        InputError: Something else is among them.
    """
    known = {post.id: post for post in shown.posts} if isinstance(shown, Predictions) else {}
    several = isinstance(shown, Sequence) and not isinstance(shown, str) and not _is_pair(shown)
    items: Sequence[Any] = shown if several else [shown]  # type: ignore[assignment]
    return [_pair(item, known) for item in items]


def _is_pair(item: Any) -> bool:
    return isinstance(item, tuple) and len(item) == 2 and isinstance(item[1], Mapping)


def _pair(item: Any, known: Mapping[str, Post]) -> Pair:
    if isinstance(item, Post):
        return item, {}
    if isinstance(item, Prediction):
        return known.get(item.id) or Post(item.id, item.text), {"answer": item}
    if _is_pair(item):
        return item
    if isinstance(item, Answered):
        post, answer = item.as_pair()
        return post, {"answer": answer}
    raise InputError("This cannot be shown", received=item, accepted="posts, predictions, answers of a program")


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
    cards = [build_card(post, answers, stages) for post, answers in pairs]
    script = _source("report.js.j2")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii")
    return render_page(
        "report.html.j2",
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


def _faults(cards: Sequence[Card]) -> list[Fault]:
    """The error classes that there are."""
    rows = [row for card in cards for panel in card.panels for row in panel.rows or ()]
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
        Table(_scored(every), _score_rows(every)),
        Table("Error classes", faults),
        Table("GMNER F1 by slice (posts)", slices),
    ]
    return [table for table in tables if table.rows]


def _scored(every: Sequence[Evaluation]) -> str:
    """The caption of the scores: on how many posts, and how many of them have no prediction."""
    posts, missing = max(e.posts for e in every), max(len(e.missing) for e in every)
    unanswered = f", {missing:,} of them without a prediction" if missing else ""
    return f"Scores on {counted(posts, 'post', 'posts')}{unanswered}"


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
    loader = PackageLoader("gmner.data.pages", "templates")
    environment = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    environment.filters["colour"] = lambda name, palette: colour_of(palette, name)
    return environment


def page_template(name: str) -> Template:
    """A page of this package by its file name; whatever is put into it is escaped."""
    return _environment().get_template(name)


def render_page(template: str, **values: Any) -> str:
    """A page of this package with its values; a lone surrogate, which UTF-8 cannot hold, becomes U+FFFD."""
    return _SURROGATE.sub("\ufffd", page_template(template).render(**values))


def _source(name: str) -> str:
    """A template's text as it stands, with the line ends under which browsers hash a script."""
    loader = _environment().loader
    if loader is None:
        raise LookupError(name)
    return loader.get_source(_environment(), name)[0]
