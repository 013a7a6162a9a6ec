"""The tab on which the predictions for a corpus are corrected, one post after the other."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from threading import RLock
from typing import Any, cast

import gradio as gr

from gmner.app.corrections import CorrectionsFile
from gmner.app.editor import editor, revision_of, sent
from gmner.app.editor_data import editor_data
from gmner.app.edits import corrected
from gmner.app.review import Review, ReviewFilter, Show
from gmner.app.views import failure, left_out, message, reasoning
from gmner.data.pages.scripts import printable
from gmner.signatures.errors import GmnerError, InputError

_SHOW = ("all", "to do", "done")
_ORDER = ("as in the file", "least sure first")


_Shown = tuple[Any, Any]
"""The status and the data of the editor."""


def _alone(handler: Callable[..., _Shown]) -> Callable[..., _Shown]:
    """Let one event be handled at a time. An error becomes a message, and the post on the page stays."""

    @wraps(handler)  # Gradio reads the signature
    def handle(tab: ReviewTab, *given: Any) -> _Shown:
        with tab.lock:
            try:
                return handler(tab, *given)
            except (GmnerError, OSError) as error:
                return failure(error), gr.skip()

    return handle


class ReviewTab:
    """Builds the components, and answers their events.

    Args:
        review: The corpus.
        blocks: The page, which opens the first post when it is loaded.
    """

    def __init__(self, review: Review, blocks: gr.Blocks) -> None:
        self._review, self.lock = review, RLock()
        self._ids = {printable(id): id for id in review.posts}
        sure = review.has_confidence
        with gr.Row(elem_classes="gm-tap"):
            self._show = gr.Radio(list(_SHOW), value="all", label="Show", elem_id="gm-show")
            order = _ORDER[1] if sure else _ORDER[0]
            self._order = gr.Radio(list(_ORDER), value=order, label="Order", visible=sure, elem_id="gm-order")
            self._below = gr.Slider(0, 100, 100, step=1, visible=sure, elem_id="gm-below",
                                    label="Least sure entity at most (%)")  # fmt: skip
        self._status = gr.HTML("", apply_default_css=False, elem_id="gm-review-status")
        self._editor = editor("gm-review-editor")
        self._connect(blocks)

    def _connect(self, blocks: gr.Blocks) -> None:
        filters, shown = [self._show, self._order, self._below], [self._status, self._editor]
        blocks.load(self._first, filters, shown, api_visibility="private")
        # `input` also for the slider: its `release` follows neither the arrow keys nor Enter in its number.
        changes = [field.input for field in (self._show, self._order, self._below)]
        for changed in (*changes, self._below.release):  # `release` for its reset button
            changed(self._first, filters, shown, api_visibility="private", trigger_mode="always_last")
        for event, act in (("gm_save", self._save), ("gm_step", self._step), ("gm_discard", self._discard)):
            getattr(self._editor, event)(act, filters, shown, api_visibility="private")

    @property
    def _corrections(self) -> CorrectionsFile:
        return self._review.corrections

    @_alone
    def _first(self, show: str, order: str, below: float) -> _Shown:
        only = _filter(show, order, below)
        return self._opened(self._review.first(only), only)

    @_alone
    def _save(self, show: str, order: str, below: float, event: gr.EventData) -> _Shown:
        only, data = _filter(show, order, below), sent(event)
        id = self._id(data)
        post = corrected(self._review.posts[id], data.get("entities"), self._review.labels)
        following = self._review.step(id, 1, only) if data.get("next") else None
        self._corrections.save(post, revision_of(data))
        if following is not None:
            return self._opened(following, only, settled=id)
        last = " This was the last post of the list." if data.get("next") else ""
        return self._opened(id, only, f"Saved.{last}", settled=id)

    @_alone
    def _step(self, show: str, order: str, below: float, event: gr.EventData) -> _Shown:
        only, data = _filter(show, order, below), sent(event)
        id, by = self._id(data), data.get("by")
        following = self._review.step(id, -1 if by == -1 else 1, only)
        if following is not None:
            return self._opened(following, only, settled=id)
        end = "first" if by == -1 else "last"
        return message(f"This is the {end} post of the list. {self._progress(id, only)}"), gr.skip()

    @_alone
    def _discard(self, show: str, order: str, below: float, event: gr.EventData) -> _Shown:
        only, data = _filter(show, order, below), sent(event)
        id = self._id(data)
        self._corrections.discard(id, revision_of(data))
        return self._opened(id, only, "Discarded the correction.", settled=id)

    def _id(self, data: dict[str, Any]) -> str:
        """The id of the post on the page."""
        id = self._ids.get(str(data.get("id")))
        if id is None:
            raise InputError("The post on the page is unknown", remedy="Reload the page")
        return id

    def _opened(self, id: str | None, only: ReviewFilter, note: str = "", settled: str | None = None) -> _Shown:
        """Status and data of the editor; None: no post is in the list."""
        if id is None:
            done, total = self._review.counts()
            return message(f"No post is in this list. {done} of {total} posts are done."), None
        post, answer = self._review.posts[id], self._review.answer(id)
        revision = self._corrections.revision(id)
        drafts = self._review.drafts(id)
        data = editor_data(post, drafts, self._review.labels, revision=revision, review=True, settled=settled)
        status = message(f"{note} {self._progress(id, only)}".strip())
        status += left_out(self._review.left_out(id))
        if answer is not None and answer.error:
            status += message(answer.error["message"], problem=True, about="Prediction")
        elif answer is not None and answer.reasoning:
            status += reasoning(answer.reasoning)
        return status, data

    def _progress(self, id: str, only: ReviewFilter) -> str:
        done, total = self._review.counts()
        ids = self._review.ids(only)
        place = f"post {ids.index(id) + 1} of {len(ids)} in this list" if id in ids else f"{len(ids)} in this list"
        sure = self._review.confidence(id)
        confidence = "" if sure is None else f"; its least sure entity: {sure:.0%}"
        return f"{done} of {total} done; {place}{confidence}. Corrections: {self._corrections.path}."


def _filter(show: str, order: str, below: float) -> ReviewFilter:
    """The filter of the page; unknown words count as the default."""
    known = cast(Show, show if show in _SHOW else "all")
    return ReviewFilter(known, order == _ORDER[1], min(max(float(below) / 100, 0.0), 1.0))
