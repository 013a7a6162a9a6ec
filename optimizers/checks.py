"""What a compile checks about its posts before anything is written, asked or trained."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from gmner.data.post import Post
from gmner.data.scoring.evaluate import check_gold
from gmner.optimizers.chains.split import check_pictures, check_trainset
from gmner.programs.adapter import PromptAdapter
from gmner.programs.gold_check import FALSIFYING, GoldReport, check_posts, refusal

LOG = logging.getLogger(__name__)

_LEAVE_OUT = (
    "Mend these posts (`gmner check` lists them all), or leave them out: leave_out_invalid=True, --leave-out-invalid"
)
_NAMED = 5


def checked_sets(
    train: Sequence[Post], val: Sequence[Post] | None, adapter: PromptAdapter, *, leave_out_invalid: bool = False
) -> tuple[list[Post], list[Post] | None]:
    """The trainset and the valset of a compile, once both are known to be usable.

    Args:
        train: The trainset.
        val: The valset, or None.
        adapter: The adapter of the program that learns: its labels, limits and model decide what can be answered.
        leave_out_invalid: Leave out the posts that would be refused, and warn with their number.

    Returns:
        Both sets, without what was left out.

    Raises:
        InputError: A post whose gold answer the program could not write, a valset that cannot be scored, or a set of
            which nothing is left; the fact names the first posts and the reasons.
        ImageError: A picture of the trainset that cannot be read.
    """
    report = check_posts(train, adapter.labels, adapter.limits, adapter.profile)
    if report.faults and leave_out_invalid:
        _say_left_out("trainset", report)
        train = report.kept(train)
    check_trainset(train)
    if not leave_out_invalid and report.faults:
        if report.only(("bad_picture", "no_picture")).faults:
            check_pictures(train, adapter)
        raise refusal("trainset", report, _LEAVE_OUT)
    if val is not None:
        val = _checked_valset(val, adapter, leave_out_invalid=leave_out_invalid)
        _warn_of_overlap(train, val)
    return list(train), val


def _checked_valset(val: Sequence[Post], adapter: PromptAdapter, *, leave_out_invalid: bool) -> list[Post]:
    report = check_posts(val, adapter.labels, adapter.limits, adapter.profile, regions=False)
    falsifying = report.only(FALSIFYING)
    if falsifying.faults and leave_out_invalid:
        _say_left_out("valset", falsifying)
        val = falsifying.kept(val)
    check_gold(val, "the valset")
    if falsifying.faults and not leave_out_invalid:
        raise refusal("valset", falsifying, _LEAVE_OUT)
    unanswerable = GoldReport(report.posts, tuple(f for f in report.faults if f.kind not in FALSIFYING))
    if unanswerable.faults:
        LOG.warning("The valset has gold that the program cannot answer rightly. %s", unanswerable.summary(_NAMED))
    return list(val)


def _warn_of_overlap(train: Sequence[Post], val: Sequence[Post]) -> None:
    """Warn of posts that are in both sets: a stage is chosen by what it was trained on."""
    ids, texts = {post.id for post in train}, {post.text for post in train}
    both = [post.id for post in val if post.id in ids or post.text in texts]
    if both:
        named = ", ".join(both[:_NAMED])
        LOG.warning("%d posts of the valset are in the trainset, too, by id or text: %s", len(both), named)


def _say_left_out(name: str, report: GoldReport) -> None:
    LOG.warning("%d posts of the %s are left out. %s", report.refused, name, report.summary(_NAMED))
