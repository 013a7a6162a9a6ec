"""The formulas of the five rewards, each a function of a `Judgement`; the constraints are the paper's.

A reward applies only to what a post is annotated with: count, span and type to names without regions (MNER-MI),
grounding and entailment to a referring expression (GREC).
"""

from __future__ import annotations

from collections.abc import Callable

from gmner.optimizers.rewards.judgement import Judgement
from gmner.signatures.mentions import Task


def count_reward(judgement: Judgement) -> float | None:
    """R_c = 1 - |n_pred - n_gold| / max(n_pred, n_gold), in 0..1; 1 when both are 0. Formula: ours.

    Returns:
        None (does not apply) for an expression.

    >>> from gmner.optimizers.rewards.judgement import Finding, Judgement
    >>> count_reward(Judgement(n_pred=1, findings=(Finding(shown=False), Finding(shown=True))))
    0.5
    """
    if judgement.task == "grec":
        return None
    most = judgement.most
    return 1.0 - abs(judgement.n_pred - len(judgement.findings)) / most if most else 1.0


def span_reward(judgement: Judgement) -> float | None:
    """R_s = F1 of the paired spans, in 0..1; 1 when both lists are empty. Formula: ours.

    Returns:
        None (does not apply) for an expression.

    >>> from gmner.optimizers.rewards.judgement import Finding, Judgement
    >>> span_reward(Judgement(n_pred=1, findings=(Finding(shown=False, found=True),)))
    1.0
    """
    if judgement.task == "grec":
        return None
    total = judgement.n_pred + len(judgement.findings)
    return 2.0 * sum([f.found for f in judgement.findings]) / total if total else 1.0


def type_reward(judgement: Judgement) -> float | None:
    """R_t = paired spans with the right type / max(n_pred, n_gold), in 0..1; 1 when both are empty. Formula: ours.

    Returns:
        None (does not apply) for an expression.

    >>> from gmner.optimizers.rewards.judgement import Finding, Judgement
    >>> type_reward(Judgement(n_pred=2, findings=(Finding(shown=False, found=True, type_right=True),)))
    0.5
    """
    if judgement.task == "grec":
        return None
    most = judgement.most
    return sum([f.type_right for f in judgement.findings]) / most if most else 1.0


def grounding_reward(judgement: Judgement, sigma: float = 0.5, soft: bool = True) -> float | None:
    """R_u = mean over the shown gold mentions of the best IoU where it reaches sigma, else 0; in 0..1.

    For an expression, the sum of the IoU of the targets with their boxes, where it reaches sigma, is divided by the
    number of targets or of predicted boxes, whichever is larger: a surplus box costs as much as a missing one. The
    threshold sigma is from the paper; the rest of the formula is ours.

    Args:
        judgement: A valid answer compared with the gold annotations.
        sigma: Smallest IoU with which a box counts.
        soft: A box that counts contributes its IoU; False: it contributes 1.

    Returns:
        None (does not apply) if the image shows none of the gold mentions, or none of them has an annotated region.

    >>> from gmner.optimizers.rewards.judgement import Finding, Judgement
    >>> found = Finding(shown=True, found=True, said_shown=True, iou=0.75)
    >>> grounding_reward(Judgement(1, (found,))), grounding_reward(Judgement(1, (found,)), sigma=0.8)
    (0.75, 0.0)
    """
    shown = [f.iou for f in judgement.findings if f.shown]
    if not shown:
        return None
    most = judgement.most if judgement.task == "grec" else len(shown)
    return sum([iou if soft else 1.0 for iou in shown if iou >= sigma]) / most


def entailment_reward(judgement: Judgement) -> float | None:
    """R_e = balanced accuracy of shown / not shown over the gold mentions, in 0..1. Formula: ours.

    The mean accuracy over the classes that occur in the gold annotations; a gold mention that was not found counts as
    wrong. It is balanced because about 60 % of mentions are not shown, so that never giving a box would score well on
    plain accuracy.

    Returns:
        None (does not apply) if there is no gold mention, or no region is annotated.

    >>> from gmner.optimizers.rewards.judgement import Finding, Judgement
    >>> absent, shown = Finding(shown=False, found=True), Finding(shown=True, found=True)
    >>> entailment_reward(Judgement(3, (absent, absent, shown)))
    0.5
    """
    if judgement.task == "mner":
        return None
    findings = judgement.findings
    shown = [f.found and f.said_shown for f in findings if f.shown]
    absent = [f.found and not f.said_shown for f in findings if not f.shown]
    rates = [sum(right) / len(right) for right in (shown, absent) if right]
    return sum(rates) / len(rates) if rates else None


FORMULAS: dict[str, Callable[[Judgement], float | None]] = {
    "count": count_reward,
    "span": span_reward,
    "type": type_reward,
    "grounding": grounding_reward,
    "entailment": entailment_reward,
}
"""Name of a reward -> its formula, in the order of the weights l1 to l5."""

APPLIED: dict[Task, frozenset[str]] = {
    "mner": frozenset({"count", "span", "type"}),
    "grec": frozenset({"grounding", "entailment"}),
}
"""Related task -> the rewards that apply to its posts; to posts of GMNER, all do."""
