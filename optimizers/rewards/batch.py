"""Helpers for rewards of any kind: the whole answers of a batch of completions, and their judgements."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gmner.optimizers.rewards.judgement import (
    DEFAULT_FORMAT,
    MORE_SIZES,
    TASK,
    Judgement,
    as_size,
    completion_text,
    judge_rows,
)
from gmner.optimizers.rewards.staged_calls import whole_answer
from gmner.signatures.boxes import BoxFormat
from gmner.signatures.labels import COARSE, LabelSet


def whole_answers(
    completions: Sequence[Any],
    post_text: Sequence[str],
    call: Sequence[str] | None = None,
    labels: LabelSet = COARSE,
    **columns: Any,
) -> list[str | None]:
    """The whole answer for each completion, as text; call it as `whole_answers(completions, **columns)`.

    For a program with one call per post, this is the text of the completion. For a staged program, whose completion
    belongs to one of its calls, it is the program's answer with this completion.

    Args:
        completions: Texts, or lists of messages whose last one is the answer.
        post_text: The text of each row's post.
        call: The column `call` of a staged program, see `gmner.optimizers.rewards.staged_calls`; None: there is none.
        labels: The entity types; CVO passes those of the program.
        **columns: The other columns; not read.

    Returns:
        One text per completion; None if the completion is not a valid answer to its call of a staged program.

    Raises:
        InputError: A completion has an unknown format.
    """
    texts = [completion_text(completion) for completion in completions]
    if call is None:
        return list(texts)
    rows = zip(texts, call, post_text, strict=True)
    # A post of a related task, and only that, has a call without a name: it is answered in one call.
    return [whole_answer(text, row_call, row_text, labels) if row_call else text for text, row_call, row_text in rows]


def judgements(
    completions: Sequence[Any],
    post_text: Sequence[str],
    gold: Sequence[str],
    size: Sequence[Sequence[int] | None],
    resized: Sequence[Sequence[int] | None],
    call: Sequence[str] | None = None,
    **columns: Any,
) -> list[Judgement | None]:
    """Compare each completion with its gold annotations; call it as `judgements(completions, **columns)`.

    Args:
        completions: Texts, or lists of messages whose last one is the answer.
        post_text: The text of each row's post.
        gold: Each row's gold mentions as JSON.
        size: Width and height of each row's image in pixels; None: no image.
        resized: Width and height after the processor's resize, for the `resized` convention.
        call: See `whole_answers`; the whole answer is judged.
        **columns: CVO passes the program's entity types as `labels` and its coordinate convention as `box_format`; the
            defaults are `COARSE` and `DEFAULT_FORMAT`. `more_sizes` has the sizes of the further images of posts with
            several, and `task` the task of each post if there are posts of a related task. Other columns are ignored.

    Returns:
        One judgement per completion; None for an invalid answer.

    Raises:
        DataError: The gold annotations do not match the text.
        InputError: A completion has an unknown format, or a size that the coordinate convention needs is missing.
    """
    texts = [completion_text(completion) for completion in completions]
    labels, box_format = columns.get("labels", COARSE), columns.get("box_format", DEFAULT_FORMAT)
    more = [value or "" for value in columns.get(MORE_SIZES) or [""] * len(texts)]
    tasks = columns.get(TASK) or ["gmner"] * len(texts)
    return _LAST.judged([texts, post_text, gold, size, resized, more, tasks, call], labels, box_format)


class _LastBatch:
    """Caches the judgements of the last batch, because all rewards of a step are called with the same batch."""

    def __init__(self) -> None:
        self._kept: tuple[Any, list[Judgement | None]] | None = None

    def judged(self, columns: Sequence[Any], labels: LabelSet, box_format: BoxFormat) -> list[Judgement | None]:
        # Lists of the same objects are compared by identity, which is much faster than hashing every row.
        batch = [[None if column is None else list(column) for column in columns], labels, box_format]
        kept = self._kept
        if kept is None or kept[0] != batch:
            texts, post_text, gold, size, resized, more, tasks, call = columns
            answers = whole_answers(texts, post_text, call, labels)
            rows = zip(answers, post_text, gold, map(as_size, size), map(as_size, resized), more, tasks, strict=True)
            kept = self._kept = (batch, judge_rows(rows, labels, box_format))
        return list(kept[1])


_LAST = _LastBatch()
