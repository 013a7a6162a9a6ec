"""A self-contained HTML report of predictions.

Posts are untrusted: the templates escape their content, and the content security policy of the page allows no external
resources and no script except its own.
"""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Protocol, TypeAlias, runtime_checkable

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from gmner.data.files.atomic import whole_text
from gmner.data.pages.cards import Card, build_card
from gmner.data.pages.markup import colour_of, colours
from gmner.data.pages.score_tables import change_table, score_tables
from gmner.data.pages.scripts import isolated, printable, short_name
from gmner.data.post import Post
from gmner.data.prediction import Prediction, Predictions
from gmner.data.scoring.entity_errors import Fault
from gmner.data.scoring.evaluation import Evaluation
from gmner.signatures.errors import InputError
from gmner.signatures.mentions import GroundedEntity

PAGE_POSTS = 30
"""Number of posts that a page shows at a time."""

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


def render_html(
    pairs: Sequence[Pair],
    *,
    title: str,
    scores: Mapping[str, Evaluation] | None = None,
    notes: Sequence[Mapping[str, str]] = (),
    slices_are: str = "slice",
) -> str:
    """Render a self-contained HTML page of posts with their predictions.

    Each post is a card with one panel for the gold annotation, if there is one, and one panel per stage. A panel shows
    the image with boxes, the text with spans, the entities with their errors, and the collapsed reasoning. The top of
    the page shows the scores of the stages, if there are any, with what each one mended and broke against the first,
    then filters, a search, and the order of the posts, `PAGE_POSTS` of which are shown at a time. If predictions have
    confidences, there is also a threshold: entities below it are hidden, and the others are scored.

    Args:
        pairs: Posts with their predictions by stage name, such as `{"before": ..., "after CVO": ...}`.
        title: Heading of the page.
        scores: Evaluations by stage name, in display order.
        notes: For each pair, notes to answers by stage name, such as the rewards of a sampled answer.
        slices_are: What the slices of the posts are, as the name of their filter.

    Returns:
        The page. Images are inlined with at most 480 pixels per side; no external resources are loaded.

    Raises:
        InputError: There are neither posts nor scores to show.
    """
    if not pairs and not scores:
        raise InputError("Nothing to show", accepted="posts with predictions, or scores")
    stages = list(dict.fromkeys([name for _, answers in pairs for name in answers]))
    noted = notes or [{}] * len(pairs)
    cards = [build_card(post, answers, stages, note) for (post, answers), note in zip(pairs, noted, strict=True)]
    tables = score_tables(scores or {})
    if scores and (changes := change_table(pairs, stages, scores)) is not None:
        tables.insert(1, changes)
    return render_page(
        "report.html.j2",
        title=title,
        cards=cards,
        stages=stages,
        judged=any(post.entities is not None for post, _ in pairs),
        slices=sorted({card.slice for card in cards if card.slice}),
        faults=_faults(cards),
        has_confidence=any(entity.confidence is not None for entity in _answered(pairs)),
        slices_are=slices_are,
        page_posts=PAGE_POSTS,
        tables=tables,
        types=_types(pairs),
        palette=colours(_types(pairs)),
        **page_script("report.js.j2"),
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
    return printable(_environment().get_template(template).render(**values))


def page_script(name: str) -> dict[str, str]:
    """A script of this package and its hash, which the content security policy of a page contains."""
    script = _source(name)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii")
    return {"script": Markup(script), "digest": digest}  # part of the package, so it needs no escaping


def _source(name: str) -> str:
    """The source of a template, with LF line ends, as browsers use to hash a script."""
    loader = _environment().loader
    if loader is None:
        raise LookupError(name)
    return loader.get_source(_environment(), name)[0]
