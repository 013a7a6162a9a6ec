"""The HTML parts of the page that show answers, differences and messages; all texts are escaped."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from markupsafe import Markup, escape

from gmner.app.timed_answer import TimedAnswer
from gmner.data.listing import counted
from gmner.data.pages.differences import differences
from gmner.data.pages.markup import DIFFERS
from gmner.data.pages.notebook import answers_html
from gmner.data.pages.scripts import printable
from gmner.data.post import Post
from gmner.data.prediction import Prediction
from gmner.signatures.errors import GmnerError, InputError


@dataclass(frozen=True, slots=True)
class AnswerView:
    """What the page shows of the answers to a post.

    Attributes:
        status: Cost of each answer, or the error, as HTML.
        answers: The linked view of all answers side by side, as HTML; two are marked where they differ.
        differences: The number of differences of two answers, as HTML; empty for a single answer.
        json: The answers as JSON.
    """

    status: Markup
    answers: str
    differences: str
    json: str


def answer_view(post: Post, answers: Mapping[str, TimedAnswer]) -> AnswerView:
    """Show one or two answers to a post.

    Args:
        post: The post.
        answers: Name of a program -> its answer.
    """
    status = Markup("").join(
        message(answer.prediction.error["message"], problem=True, about=name)
        if answer.prediction.error
        else message(answer.cost(), about=name)
        for name, answer in answers.items()
    )
    predictions = {name: answer.prediction for name, answer in answers.items()}
    compared = ""
    if len(answers) == 2 and not any(prediction.error for prediction in predictions.values()):
        compared = _count(*predictions.values())
    records = {name: prediction.to_record() for name, prediction in predictions.items()}
    kept = {name: {key: record[key] for key in ("text", "reasoning", "entities", "error")}
            for name, record in records.items()}  # fmt: skip
    shown = kept if len(kept) > 1 else next(iter(kept.values()))
    answered = {name: prediction for name, prediction in predictions.items() if not prediction.error}
    view = answers_html(post, answered) if answered else ""
    return AnswerView(status, view, compared, printable(json.dumps(shown, ensure_ascii=False, indent=1)))


def _count(first: Prediction, second: Prediction) -> Markup:
    remarks, _ = differences(first, second)
    count = sum(len(remark.words) for remark in remarks)
    if not count:
        return message("Both answers name the same entities, with the same types and boxes.")
    return message(f"{counted(count, 'difference', 'differences')}, marked with {DIFFERS} in both answers.")


def left_out(count: int) -> Markup:
    """That the editor does not show some entities; empty if there are none."""
    if not count:
        return Markup("")
    what = counted(count, "entity is", "entities are")
    return message(f"{what} left out of the editor: not in the text, or the words of another one.")


def failure(error: GmnerError | OSError) -> Markup:
    """An error as a message."""
    if isinstance(error, OSError):
        reason = error.strerror or type(error).__name__
        error = InputError(f"The corrections cannot be written: {reason}", received=error.filename)
    return message(str(error), problem=True)


def reasoning(text: str) -> Markup:
    """The reasoning of a prediction, a few lines high: a long one is scrolled, so that the editor keeps its place."""
    html = '<div class="gm-message gm-long" role="region" tabindex="0" aria-label="Reasoning" dir="auto">{}{}</div>'
    return Markup(printable(Markup(html).format(Markup("<strong>Reasoning</strong>: "), escape(text))))


def message(text: str, *, problem: bool = False, about: str = "") -> Markup:
    """A message that screen readers announce; a problem begins with the word `Problem`."""
    name = Markup("<strong><bdi>{}</bdi></strong>: ").format(about) if about else ""
    kind = Markup("<b>Problem.</b> ") if problem else ""
    role, style = ("alert", "gm-message gm-alert") if problem else ("status", "gm-message")
    html = '<p class="{}" role="{}" dir="auto">{}{}{}</p>'
    return Markup(printable(Markup(html).format(style, role, name, kind, escape(text))))
