"""The tables at the top of a report: scores of the systems, their errors, and what each one mended and broke."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from gmner.data.listing import counted
from gmner.data.post import Post
from gmner.data.prediction import Prediction
from gmner.data.scoring.entity_errors import Fault, post_errors
from gmner.data.scoring.evaluation import Evaluation, Figures, percent
from gmner.data.scoring.pairing import TASKS
from gmner.data.scoring.resampling import compare

Rows = Sequence[tuple[str, Sequence[tuple[str, str]]]]
"""(name, [(value, note)] with one for each column)."""


@dataclass(frozen=True, slots=True)
class Table:
    """A table of figures.

    Attributes:
        caption: Its title.
        columns: Names of the columns: systems.
        rows: Name and cells of each row.
    """

    caption: str
    columns: Sequence[str]
    rows: Rows


def score_tables(scores: Mapping[str, Evaluation]) -> list[Table]:
    """Tables of scores, error classes and slices.

    Args:
        scores: Evaluations by system, in display order.
    """
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
    columns = list(scores)
    tables = [
        Table(_scores_caption(stages), columns, _score_rows(stages)),
        Table("Error classes", columns, faults),
        Table("GMNER F1 by slice (posts)", columns, slices),
    ]
    return [table for table in tables if table.rows]


def change_table(
    pairs: Sequence[tuple[Post, Mapping[str, Prediction]]], systems: Sequence[str], scores: Mapping[str, Evaluation]
) -> Table | None:
    """What each system mended and broke against the first one; None with one system, or without annotated posts.

    A post is mended if the first system answered it with an error and the other without, and broken the other way
    round; a mention likewise, if the answer has it with correct span, type and region. Posts that one of the two did
    not answer are left out.

    Args:
        pairs: Posts with their answers by system.
        systems: The systems in display order.
        scores: Their evaluations; systems without one get no gain.
    """
    judged = [(post, answers) for post, answers in pairs if post.entities is not None]
    if len(systems) < 2 or not judged:
        return None
    first, *others = systems
    changes = [_changes(judged, first, other) for other in others]
    rows = [
        (f"{things} {what}", [(f"{getattr(change, f'{things}_{what}'):,}", "") for change in changes])
        for things in ("posts", "mentions")
        for what in ("mended", "broken")
    ]
    if all(name in scores for name in systems):
        rows.append(
            (
                f"gain in {_main_task(scores[first]).upper()} F1",
                [_gain(scores[first], scores[other]) for other in others],
            )
        )
    return Table(f"Mended and broken against {first}", others, rows)


@dataclass(slots=True)
class _Changes:
    posts_mended: int = 0
    posts_broken: int = 0
    mentions_mended: int = 0
    mentions_broken: int = 0


def _changes(pairs: Sequence[tuple[Post, Mapping[str, Prediction]]], first: str, other: str) -> _Changes:
    found = _Changes()
    for post, answers in pairs:
        if first not in answers or other not in answers:
            continue
        before, after = (_right(post, answers[name]) for name in (first, other))
        found.posts_mended += not before[1] and after[1]
        found.posts_broken += before[1] and not after[1]
        found.mentions_mended += len(after[0] - before[0])
        found.mentions_broken += len(before[0] - after[0])
    return found


def _right(post: Post, answer: Prediction) -> tuple[set[int], bool]:
    """The indices of the gold mentions that are right, and whether the whole answer is."""
    errors = post_errors(post, answer.entities)
    places = {id(gold): place for place, gold in enumerate(post.gold)}
    mentions = {places[id(error.gold)] for error in errors if error.gold is not None and not error.faults}
    return mentions, not answer.error and not any(error.faults for error in errors)


def _gain(first: Evaluation, other: Evaluation) -> tuple[str, str]:
    """The difference in F1 and its interval; `-` if the two are not of the same posts, or were read from a file."""
    ids, others = ([prediction.id for prediction in e.predictions] for e in (first, other))
    if not ids or ids != others or first.protocol != other.protocol:
        return "-", ""
    row = compare(first, other).tasks[_main_task(first)]
    return f"{row.difference:+.1f}", f"{row.low:+.1f} to {row.high:+.1f}"


def _main_task(scores: Evaluation) -> str:
    return "gmner" if scores.grounded else "mner"


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
