"""A self-contained HTML report of predictions.

Posts are untrusted: the templates escape their content, and the content security policy of the page allows no external
resources and no script except its own.
"""

from __future__ import annotations

import base64
import hashlib
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Protocol, TypeAlias, runtime_checkable

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from gmner.data.files.atomic import whole_text
from gmner.data.listing import counted
from gmner.data.pages.cards import Card, build_card
from gmner.data.pages.markup import colour_of, colours
from gmner.data.pages.scripts import isolated, short_name
from gmner.data.post import Post
from gmner.data.prediction import Prediction, Predictions
from gmner.data.scoring.entity_errors import Fault
from gmner.data.scoring.evaluation import Evaluation, Figures, percent
from gmner.data.scoring.pairing import TASKS
from gmner.signatures.errors import InputError
from gmner.signatures.mentions import GroundedEntity

_SURROGATE = re.compile("[\ud800-\udfff]")

Pair = tuple[Post, Mapping[str, Prediction]]


@runtime_checkable
class Answered(Protocol):
    """A post with its answer, as returned by a program."""

    def as_pair(self) -> tuple[Post, Prediction]:
        """Return the post and the answer."""


Item: TypeAlias = Post | Prediction | Answered | Pair


def save_html(
    shown: Item | Evaluation | Sequence[Item], path: str | os.PathLike[str], *, title: str | None = None
) -> Path:
    """Write an HTML page atomically, see `render_html`.

    Args:
        shown: What to show: an answer of a program, a post, a list of posts, the predictions of `batch_posts` (with
            their posts), one `Prediction` (without the image), pairs as for `render_html`, or an evaluation (only its
            scores).
        path: The output file; replaced if it exists.
        title: Heading of the page; None: the name of the file.

    Returns:
        The path.

    Raises:
        InputError: There is nothing to show, or an object of this type cannot be shown.
    """
    path = Path(path)
    scores = {"answers": shown} if isinstance(shown, Evaluation) else None
    pairs = [] if isinstance(shown, Evaluation) else pairs_of(shown)
    page = render_html(pairs, title=title or path.stem, scores=scores)
    with whole_text(path) as file:
        file.write(page)
    return path


def pairs_of(shown: Item | Sequence[Item]) -> list[Pair]:
    """Convert items to pairs of a post and `{"answer": prediction}`; an unknown post is replaced by its text.

    Raises:
        InputError: An item has another type.
    """
    posts = {post.id: post for post in shown.posts} if isinstance(shown, Predictions) else {}
    several = isinstance(shown, Sequence) and not isinstance(shown, str) and not _is_pair(shown)
    items: Sequence[Any] = shown if several else [shown]  # type: ignore[assignment]
    return [_pair(item, posts) for item in items]


def _is_pair(item: Any) -> bool:
    return isinstance(item, tuple) and len(item) == 2 and isinstance(item[1], Mapping)


def _pair(item: Any, posts: Mapping[str, Post]) -> Pair:
    if isinstance(item, Post):
        return item, {}
    if isinstance(item, Prediction):
        return posts.get(item.id) or Post(item.id, item.text), {"answer": item}
    if _is_pair(item):
        return item
    if isinstance(item, Answered):
        post, answer = item.as_pair()
        return post, {"answer": answer}
    raise InputError("Cannot show this object", received=item, accepted="posts, predictions, answers of a program")


def render_html(pairs: Sequence[Pair], *, title: str, scores: Mapping[str, Evaluation] | None = None) -> str:
    """Render a self-contained HTML page of posts with their predictions.

    Each post is a card with one panel for the gold annotation, if there is one, and one panel per stage. A panel shows
    the image with boxes, the text with spans, the entities with their errors, and the collapsed reasoning. The top of
    the page shows the scores of the stages, and filters. If predictions have confidences, there is also a threshold:
    entities below it are hidden, and the others are scored.

    Args:
        pairs: Posts with their predictions by stage name, such as `{"before": ..., "after CVO": ...}`.
        title: Heading of the page.
        scores: Evaluations by stage name, in display order.

    Returns:
        The page. Images are inlined with at most 480 pixels per side; no external resources are loaded.

    Raises:
        InputError: There are neither posts nor scores to show.
    """
    if not pairs and not scores:
        raise InputError("Nothing to show", accepted="posts with predictions, or scores")
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
        has_confidence=any(entity.confidence is not None for entity in _answered(pairs)),
        tables=_tables(scores or {}),
        columns=list(scores or {}),
        types=_types(pairs),
        palette=colours(_types(pairs)),
        # The script is part of the package, so it needs no escaping; the policy contains its hash.
        script=Markup(script),
        digest=digest,
    )


def _faults(cards: Sequence[Card]) -> list[Fault]:
    """The error classes that occur."""
    rows = [row for card in cards for panel in card.panels for row in panel.rows or ()]
    occurring = {fault for row in rows for fault, _ in row.faults or ()}
    return [fault for fault in Fault if fault in occurring]


def _answered(pairs: Sequence[Pair]) -> Iterator[GroundedEntity]:
    for _, answers in pairs:
        for answer in answers.values():
            yield from answer.entities


def _types(pairs: Sequence[Pair]) -> list[str]:
    types = {entity.type for post, _ in pairs for entity in post.gold} | {entity.type for entity in _answered(pairs)}
    return [name for name in colours(types) if name in types]


@dataclass(frozen=True, slots=True)
class Table:
    """Figures of the stages as rows of (name, [(value, note)])."""

    caption: str
    rows: Sequence[tuple[str, Sequence[tuple[str, str]]]]


def _tables(scores: Mapping[str, Evaluation]) -> list[Table]:
    if not scores:
        return []
    stages = list(scores.values())
    faults = [
        (fault.label, [(str(e.errors.get(fault, 0)), "") for e in stages])
        for fault in Fault
        if fault in stages[0].errors
    ]
    names = sorted({name for e in stages for name in e.by_slice})
    slices = [(_slice_name(name, stages), [(_slice_f1(e.by_slice.get(name)), "") for e in stages]) for name in names]
    tables = [
        Table(_scores_caption(stages), _score_rows(stages)),
        Table("Error classes", faults),
        Table("GMNER F1 by slice (posts)", slices),
    ]
    return [table for table in tables if table.rows]


def _scores_caption(stages: Sequence[Evaluation]) -> str:
    """The caption of the scores: the numbers of posts and of posts without a prediction."""
    posts, missing = max(e.posts for e in stages), max(len(e.missing) for e in stages)
    unanswered = f", {missing:,} of them without a prediction" if missing else ""
    return f"Scores on {counted(posts, 'post', 'posts')}{unanswered}"


def _score_rows(stages: Sequence[Evaluation]) -> list[tuple[str, Sequence[tuple[str, str]]]]:
    rows: list[tuple[str, Sequence[tuple[str, str]]]] = []
    for task in [task for task in TASKS if all(task in e.tasks for e in stages)]:
        cells = [(percent(getattr(e, task).f1), "{:.1f} to {:.1f}".format(*e.intervals[task])) for e in stages]
        rows.append((f"{task.upper()} F1", cells))
    if all(e.grounded for e in stages):
        rows += [
            ("boxed correctly if shown, %", [(percent(e.found_of_shown), "") for e in stages]),
            ("boxed if not shown, %", [(percent(e.boxed_of_absent), "") for e in stages]),
            ("textual bias: N-F1", [(percent(e.bias.n_f1), f"{e.bias.grounded_absent} boxed") for e in stages]),
        ]
    rows.append(("visual bias: N-Rate, %", [(percent(e.bias.n_rate), f"{e.bias.n_count} entities") for e in stages]))
    return rows


def _slice_name(name: str, stages: Sequence[Evaluation]) -> str:
    return f"{name} ({max(e.by_slice[name].posts for e in stages if name in e.by_slice)})"


def _slice_f1(figures: Figures | None) -> str:
    return "-" if figures is None else percent(figures.gmner.f1)


@cache
def _environment() -> Environment:
    loader = PackageLoader("gmner.data.pages", "templates")
    environment = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    environment.filters["colour"] = lambda name, palette: colour_of(palette, name)
    environment.filters["isolated"] = isolated
    environment.filters["short_name"] = short_name
    return environment


def render_page(template: str, **values: Any) -> str:
    """Render a template of this package with escaped values; lone surrogates are replaced by U+FFFD."""
    return _SURROGATE.sub("\ufffd", _environment().get_template(template).render(**values))


def _source(name: str) -> str:
    """The source of a template, with LF line ends, as browsers use to hash a script."""
    loader = _environment().loader
    if loader is None:
        raise LookupError(name)
    return loader.get_source(_environment(), name)[0]
