"""HTML fragments of posts and predictions for notebooks, without scripts and external resources."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import chain

from gmner.data.html_formatters import FORMATTERS
from gmner.data.images.opening import ImageSource
from gmner.data.oddities import Posts
from gmner.data.pages.answers_page import pairs_of, render_page
from gmner.data.pages.cards import Card, CardRow, answer_card, build_card
from gmner.data.pages.markup import Rect, Segment, colours
from gmner.data.post import Post
from gmner.data.prediction import Prediction, Predictions
from gmner.signatures.mentions import GroundedEntity

SHOWN = 10
"""Maximum number of posts shown, because the notebook file contains the image of each."""


def entity_html(
    text: str,
    image: ImageSource | None,
    entities: Sequence[GroundedEntity],
    reasoning: str = "",
    more_images: Sequence[ImageSource] = (),
    thinking: str = "",
    *,
    grounded: bool = True,
) -> str:
    """Render one answer: the images with boxes, the text with spans, the entities, collapsed thinking and reasoning.

    Args:
        text: The text of the post.
        image: The image, see `open_image`, or None. If it cannot be opened, the error is shown instead.
        entities: The predicted entities, boxes in pixels of the original image.
        reasoning: The chain of reasoning; may be empty.
        more_images: Further images of the post, in order.
        thinking: What a thinking model wrote before its answer; may be empty.
        grounded: Whether the answer says what the images show.
    """
    images = () if image is None else (image, *more_images)
    return _fragment([answer_card(text, images, entities, reasoning, thinking, grounded=grounded)])


def answers_html(post: Post, answers: Mapping[str, Prediction]) -> str:
    """Render one or several answers to a post side by side, without its id; two are marked where they differ.

    Args:
        post: The post. If an image cannot be opened, the error is shown instead.
        answers: The name of a system -> its answer.
    """
    return _fragment([build_card(replace(post, id=""), answers, tuple(answers))])


def posts_html(posts: Sequence[Post]) -> str:
    """Render the first `SHOWN` posts with their gold annotations.

    Args:
        posts: The posts. If an image cannot be opened, the error is shown instead.
    """
    return _fragment([build_card(post, {}, ()) for post in posts[:SHOWN]], len(posts))


def predictions_html(predictions: Sequence[Prediction], posts: Sequence[Post] = ()) -> str:
    """Render the first `SHOWN` predictions, with gold annotations and errors if the posts are known.

    Args:
        predictions: The predictions.
        posts: The posts, matched by id. A prediction without a post is shown with its text only.
    """
    pairs = pairs_of(Predictions(predictions[:SHOWN], posts))
    return _fragment([build_card(post, answers, tuple(answers)) for post, answers in pairs], len(predictions))


def _fragment(cards: Sequence[Card], total: int = 1) -> str:
    panels = [panel for card in cards for panel in card.panels]
    shapes: list[Segment | Rect | CardRow] = []
    for panel in panels:
        shapes += [*panel.segments, *chain.from_iterable(panel.rects), *(panel.rows or ())]
    more = f"first {len(cards)} of {total:,} posts" if total > len(cards) else ""
    return render_page(
        "fragment.html.j2",
        cards=cards,
        panels=max((len(card.panels) for card in cards), default=1),
        links=sorted({name for shape in shapes for name in shape.link.split()}),
        palette=colours({shape.type for shape in shapes if shape.type}),
        more=more or ("" if cards else "no posts"),
    )


FORMATTERS.register(Post, lambda post: posts_html([post]))
FORMATTERS.register(Posts, posts_html)
FORMATTERS.register(Prediction, lambda prediction: predictions_html([prediction]))
FORMATTERS.register(Predictions, lambda predictions: predictions_html(predictions, predictions.posts))
