"""The tab on which the predictions for a corpus are corrected, one post after the other."""

from __future__ import annotations

from threading import RLock
from typing import Any, cast

import gradio as gr

from gmner.app.corrections import CorrectionsFile
from gmner.app.editor import editor, sent
from gmner.app.editor_data import editor_data
from gmner.app.edits import corrected
from gmner.app.review import Review, ReviewFilter, Show
from gmner.app.views import message
from gmner.signatures.errors import GmnerError, InputError

_SHOW = ("all", "to do", "done")
_ORDER = ("as in the file", "least sure first")


class ReviewTab:
    """Builds the components, and answers their events.

    Args:
        review: The corpus.
        blocks: The page, which opens the first post when it is loaded.
    """

    def __init__(self, review: Review, blocks: gr.Blocks) -> None:
        self._review, self._lock = review, RLock()
        sure = review.has_confidence
        with gr.Row(elem_classes="gm-tap"):
            self._show = gr.Radio(list(_SHOW), value="all", label="Show", elem_id="gm-show")
            order = _ORDER[1] if sure else _ORDER[0]
            self._order = gr.Radio(list(_ORDER), value=order, label="Order", visible=sure, elem_id="gm-order")
            self._below = gr.Slider(0, 100, 100, step=1, visible=sure, elem_id="gm-below",
                                    label="Least sure entity at most (%)")  # fmt: skip
        self._status = gr.HTML("", apply_default_css=False, elem_id="gm-review-status")
        self._current = gr.State(None)
        self._editor = editor("gm-review-editor")
        self._connect(blocks)

    def _connect(self, blocks: gr.Blocks) -> None:
        filters = [self._show, self._order, self._below]
        shown = [self._status, self._editor, self._current]
        blocks.load(self._first, filters, shown, api_visibility="private")
        for field in (self._show, self._order):
            field.input(self._first, filters, shown, api_visibility="private")
        self._below.release(self._first, filters, shown, api_visibility="private")
        for event, act in (("gm_save", self._save), ("gm_step", self._step), ("gm_discard", self._discard)):
            getattr(self._editor, event)(act, [*filters, self._current], shown, api_visibility="private")

    @property
    def _corrections(self) -> CorrectionsFile:
        return self._review.corrections

    def _first(self, show: str, order: str, below: float) -> tuple[Any, Any, Any]:
        only = _filter(show, order, below)
        with self._lock:
            try:
                return self._opened(self._review.first(only), only)
            except GmnerError as error:
                return message(str(error), problem=True), gr.skip(), gr.skip()

    def _save(self, show: str, order: str, below: float, current: str | None, event: gr.EventData) -> tuple[Any, ...]:
        only, data = _filter(show, order, below), sent(event)
        with self._lock:
            try:
                id = self._shown(current, data)
                post = corrected(self._review.posts[id], data.get("entities"), self._review.labels)
                following = self._review.step(id, 1, only)
                self._corrections.save(post)
                if data.get("next") and following is not None:
                    return self._opened(following, only)
                end = " This was the last post of the list." if data.get("next") else ""
                return self._opened(id, only, f"Saved.{end}")
            except (GmnerError, OSError) as error:
                return message(str(error), problem=True), gr.skip(), gr.skip()

    def _step(self, show: str, order: str, below: float, current: str | None, event: gr.EventData) -> tuple[Any, ...]:
        only, data = _filter(show, order, below), sent(event)
        by = -1 if data.get("by") == -1 else 1
        with self._lock:
            try:
                id = self._shown(current, data)
                following = self._review.step(id, cast(Any, by), only)
                if following is None:
                    end = "This is the last post of the list." if by == 1 else "This is the first post of the list."
                    return message(f"{end} {self._progress(id, only)}"), gr.skip(), gr.skip()
                return self._opened(following, only)
            except GmnerError as error:
                return message(str(error), problem=True), gr.skip(), gr.skip()

    def _discard(
        self, show: str, order: str, below: float, current: str | None, event: gr.EventData
    ) -> tuple[Any, ...]:
        only = _filter(show, order, below)
        with self._lock:
            try:
                id = self._shown(current, sent(event))
                self._corrections.discard(id)
                return self._opened(id, only, "Discarded the correction.")
            except (GmnerError, OSError) as error:
                return message(str(error), problem=True), gr.skip(), gr.skip()

    def _shown(self, current: str | None, data: dict[str, Any]) -> str:
        """The id of the post on the page."""
        if current is None or data.get("id") != current or current not in self._review.posts:
            raise InputError("The page shows another post", remedy="Reload the page")
        return current

    def _opened(self, id: str | None, only: ReviewFilter, note: str = "") -> tuple[Any, Any, Any]:
        """Status, data of the editor and id of a post; None: no post is in the list."""
        if id is None:
            done, total = self._review.counts()
            return message(f"No post is in this list. {done} of {total} posts are done."), None, None
        post, answer = self._review.posts[id], self._review.answer(id)
        data = editor_data(
            post, self._review.drafts(id), self._review.labels, done=id in self._corrections, review=True
        )
        status = message(f"{note} {self._progress(id, only)}".strip())
        if answer is not None and answer.error:
            status += message(answer.error["message"], problem=True, about="Prediction")
        elif answer is not None and answer.reasoning:
            status += message(answer.reasoning, about="Reasoning")
        return status, data, id

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
