"""The checks of a compile on its posts, before anything is written, generated or trained."""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence

from gmner.data.listing import counted
from gmner.data.post import Post
from gmner.data.scoring.evaluate import check_gold
from gmner.optimizers.chains.split import check_pictures, check_trainset
from gmner.programs.adapter import PromptAdapter
from gmner.programs.gold_check import FALSIFYING, GoldReport, check_posts, refusal
from gmner.signatures.mentions import MAIN_TASK, Task

LOG = logging.getLogger(__name__)

_LEAVE_OUT = (
    "Correct these posts (`gmner check` lists all faults), or skip them: leave_out_invalid=True, --leave-out-invalid"
)
_NAMED = 5


def checked_sets(
    train: Sequence[Post],
    val: Sequence[Post] | None,
    adapter: PromptAdapter,
    *,
    tasks: Collection[Task] = MAIN_TASK,
    leave_out_invalid: bool = False,
) -> tuple[list[Post], list[Post] | None]:
    """Check the training set and the validation set of a compile.

    Args:
        train: The training set.
        val: The validation set, or None.
        adapter: The adapter of the program that learns. Its labels, limits and model decide which answers are possible.
        tasks: The tasks whose posts the program learns.
        leave_out_invalid: Leave out the posts that would be refused, and log a warning with their number.

    Returns:
        Both sets, without the posts that were left out.

    Raises:
        InputError: The program could not write the gold answer of a post, the validation set cannot be scored, or no
            post is left. The message names the first posts and the reasons.
        ImageError: An image of the training set cannot be read.
    """
    report = check_posts(train, adapter.labels, adapter.limits, adapter.profile, tasks=tasks)
    if report.faults and leave_out_invalid:
        _warn_of_left_out("training set", report)
        train = report.kept(train)
    check_trainset(train)
    if not leave_out_invalid and report.faults:
        if report.only(("bad_picture", "no_picture")).faults:
            check_pictures(train, adapter)
        raise refusal("training set", report, _LEAVE_OUT)
    if val is not None:
        val = _checked_valset(val, adapter, tasks, leave_out_invalid=leave_out_invalid)
        _warn_of_overlap(train, val)
    return list(train), val


def _checked_valset(
    val: Sequence[Post], adapter: PromptAdapter, tasks: Collection[Task], *, leave_out_invalid: bool
) -> list[Post]:
    report = check_posts(val, adapter.labels, adapter.limits, adapter.profile, tasks={*tasks, "mner"})
    falsifying = report.only(FALSIFYING)
    if falsifying.faults and leave_out_invalid:
        _warn_of_left_out("validation set", falsifying)
        val = falsifying.kept(val)
    check_gold(val, "the validation set")
    if falsifying.faults and not leave_out_invalid:
        raise refusal("validation set", falsifying, _LEAVE_OUT)
    unanswerable = GoldReport(report.posts, tuple(f for f in report.faults if f.kind not in FALSIFYING))
    if unanswerable.faults:
        LOG.warning(
            "The program cannot generate some gold answers of the validation set. %s", unanswerable.summary(_NAMED)
        )
    return list(val)


def _warn_of_overlap(train: Sequence[Post], val: Sequence[Post]) -> None:
    """Warn about posts in both sets: the stage would be chosen by scores on posts that it was trained on."""
    ids, texts = {post.id for post in train}, {post.text for post in train}
    both = [post.id for post in val if post.id in ids or post.text in texts]
    if both:
        named = ", ".join(both[:_NAMED])
        LOG.warning("%d posts of the validation set are also in the training set, by id or text: %s", len(both), named)


def _warn_of_left_out(name: str, report: GoldReport) -> None:
    posts = counted(report.refused, "post", "posts")
    LOG.warning("Skipped %s of the %s. %s", posts, name, report.summary(_NAMED))
