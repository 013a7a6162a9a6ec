"""`Review`: the posts of a corpus one after the other, to correct their predictions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from gmner.app.corrections import CorrectionsFile
from gmner.app.edits import Draft, drafts_of
from gmner.data.confidence import answer_confidence
from gmner.data.export.source import answers as checked_answers
from gmner.data.export.source import checked_posts
from gmner.data.post import Post
from gmner.data.prediction import Prediction
from gmner.signatures.errors import InputError
from gmner.signatures.labels import COARSE, LabelSet
from gmner.signatures.mentions import GoldEntity, GroundedEntity

Show = Literal["all", "to do", "done"]


@dataclass(frozen=True, slots=True)
class ReviewFilter:
    """Which posts are walked, and in which order.

    Attributes:
        show: All posts, those to do, or those that are done.
        least_sure: Whether the least sure prediction comes first, see `gmner.least_sure`; otherwise the order of the
            posts.
        below: Only posts whose least sure entity has at most this confidence, 0 to 1; failed predictions count as
            unsure, predictions without entities as sure. 1: all posts.
    """

    show: Show = "all"
    least_sure: bool = False
    below: float = 1.0


class Review:
    """A corpus with its predictions and corrections.

    Args:
        posts: The posts, in order.
        answers: Their predictions by id; a post without one, or whose prediction failed, begins with its gold
            annotation, or without entities.
        corrections: The corrections; posts in it are done.
        labels: Entity types that may be used besides those that occur; None: the default types.

    Attributes:
        posts: The posts by id.
        labels: All types that may be used.
        has_confidence: Whether every prediction has confidences.

    Raises:
        InputError: There are no posts, an id occurs twice, or the prediction or correction of a post has another text
            (its offsets would mark other words), or a correction another number of images.
    """

    def __init__(
        self,
        posts: Sequence[Post],
        answers: Mapping[str, Prediction],
        corrections: CorrectionsFile,
        labels: LabelSet | None = None,
    ) -> None:
        if not posts:
            raise InputError("There are no posts to correct", accepted="at least one post")
        self.posts = {post.id: post for post in checked_posts(posts)}
        self._answers = checked_answers([item for item in answers.values() if item.id in self.posts], posts)
        self.corrections = corrections
        done = _checked_corrections(self.posts, corrections)
        self.labels = _labels([*posts, *done], self._answers.values(), labels)
        self._confidence: dict[str, float] = {}
        for id, answer in self._answers.items():
            try:
                self._confidence[id] = answer_confidence(answer)
            except InputError:
                continue
        self.has_confidence = len(self._confidence) == len(self._answers) > 0

    def counts(self) -> tuple[int, int]:
        """Number of posts that are done, and of all."""
        return sum(id in self.corrections for id in self.posts), len(self.posts)

    def ids(self, only: ReviewFilter) -> list[str]:
        """The ids of the posts of a filter, in its order.

        Raises:
            InputError: The filter needs confidences, and predictions have none.
        """
        return [id for id in self._ordered(only) if self._wanted(id, only)]

    def first(self, only: ReviewFilter) -> str | None:
        """The first post of a filter that is not done; else its first one; None if it has none."""
        ids = self.ids(only)
        return next((id for id in ids if id not in self.corrections), ids[0] if ids else None)

    def step(self, id: str, by: Literal[1, -1], only: ReviewFilter) -> str | None:
        """The next (1) or previous (-1) post of a filter; None at its end.

        The post itself need not be in the filter: after a correction, it is no longer to do.

        Raises:
            InputError: See `ids`.
        """
        order = self._ordered(only)
        place = order.index(id)
        rest = order[place + 1 :] if by == 1 else order[:place][::-1]
        return next((other for other in rest if self._wanted(other, only)), None)

    def drafts(self, id: str) -> list[Draft]:
        """The entities with which the correction of a post begins."""
        return drafts_of(self._entities(id))

    def left_out(self, id: str) -> int:
        """The number of entities that `drafts` leaves out."""
        return len(self._entities(id)) - len(self.drafts(id))

    def _entities(self, id: str) -> Sequence[GroundedEntity | GoldEntity]:
        """The entities of the correction of a post, else of its prediction, else of its annotation."""
        done, answer = self.corrections.get(id), self._answers.get(id)
        if done is not None:
            return done.gold
        return self.posts[id].gold if answer is None or answer.error else answer.entities

    def answer(self, id: str) -> Prediction | None:
        """The prediction of a post, or None."""
        return self._answers.get(id)

    def confidence(self, id: str) -> float | None:
        """The confidence of the least sure entity of a post; None if unknown, failed or without entities."""
        value = self._confidence.get(id)
        return value if value is not None and 0 <= value <= 1 else None

    def _ordered(self, only: ReviewFilter) -> list[str]:
        ids = list(self.posts)
        if not only.least_sure and only.below >= 1:
            return ids
        if not self.has_confidence:
            remedy = "Predict with `gmner extract --confidence`"
            raise InputError("The predictions have no confidence to order or filter by", remedy=remedy)
        # Posts without a prediction are the least sure of all.
        return sorted(ids, key=lambda id: self._confidence.get(id, -1.0)) if only.least_sure else ids

    def _wanted(self, id: str, only: ReviewFilter) -> bool:
        if only.below < 1 and self._confidence.get(id, -1.0) > only.below:
            return False
        return only.show == "all" or (id in self.corrections) == (only.show == "done")


def _checked_corrections(posts: Mapping[str, Post], corrections: CorrectionsFile) -> list[Post]:
    """The corrections of these posts.

    Raises:
        InputError: A correction belongs to another post with the same id.
    """
    done = [post for post in corrections if post.id in posts]
    for post in done:
        text, images = posts[post.id].text, len(posts[post.id].images)
        if (post.text, len(post.images)) != (text, images):
            raise InputError(
                f"The correction of post {post.id!r} has another text, or another number of images, than the post",
                received=str(corrections.path),
                remedy="Choose another file with --corrections, or pass the posts that were corrected",
            )
    return done


def _labels(posts: Iterable[Post], answers: Iterable[Prediction], labels: LabelSet | None) -> LabelSet:
    """The given (or default) types, and all that occur."""
    known = dict((labels or COARSE).types)
    names = [entity.type for post in posts for entity in post.gold]
    names += [entity.type for answer in answers for entity in answer.entities]
    for name in filter(str.strip, names):
        known.setdefault(name, "")
    return LabelSet.of(known)
