"""Posts and answers as HTML fragments for a notebook: no script, nothing loaded, whatever stands in a post escaped."""

from __future__ import annotations

from collections.abc import Sequence

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
"""Most posts of a list that are shown: each takes the room of its picture in the notebook's file."""


def entity_html(text: str, image: ImageSource | None, entities: Sequence[GroundedEntity], reasoning: str = "") -> str:
    """One answer: the picture with its boxes, the text with its spans, the entities, the reasoning folded.

    Args:
        text: The text of the post.
        image: Its picture, see `open_image`; None: it has none. A picture that cannot be opened is said to be so.
        entities: The answer; boxes in pixels of the original image.
        reasoning: The chain of reasoning; empty: there is none.
    """
    return _fragment([answer_card(text, image, entities, reasoning)])


def posts_html(posts: Sequence[Post]) -> str:
    """Posts with their gold annotations, the first `SHOWN` of them.

    Args:
        posts: The posts; a picture that cannot be opened is said to be so.
    """
    return _fragment([build_card(post, {}, ()) for post in posts[:SHOWN]], len(posts))


def predictions_html(predictions: Sequence[Prediction], posts: Sequence[Post] = ()) -> str:
    """Answers, the first `SHOWN` of them, beside the gold annotations and with what is wrong where these are known.

    Args:
        predictions: The answers.
        posts: The posts that were answered, told by their ids; of an answer without its post the text is shown.
    """
    pairs = pairs_of(Predictions(predictions[:SHOWN], posts))
    return _fragment([build_card(post, answers, tuple(answers)) for post, answers in pairs], len(predictions))


def _fragment(cards: Sequence[Card], of: int = 1) -> str:
    panels = [panel for card in cards for panel in card.panels]
    shapes: list[Segment | Rect | CardRow] = []
    for panel in panels:
        shapes += [*panel.segments, *panel.rects, *(panel.rows or ())]
    more = f"the first {len(cards)} of {of:,} posts" if of > len(cards) else ""
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
