"""The figures that the columns of several tables share."""

from __future__ import annotations

from collections.abc import Sequence

from gmner.data.post import Post
from gmner.data.prediction import Prediction
from gmner.data.scoring.evaluate import evaluate
from gmner.data.scoring.expressions import evaluate_expressions
from gmner.paper.table import Figures


def f1s(answers: Sequence[Prediction], posts: Sequence[Post]) -> Figures:
    """F1 of GMNER, MNER and EEG in percent."""
    scores = evaluate(answers, posts, progress=False)
    return {"GMNER F1": scores.gmner.f1, "MNER F1": scores.mner.f1, "EEG F1": scores.eeg.f1}


def precisions(answers: Sequence[Prediction], posts: Sequence[Post]) -> Figures:
    """Precision, recall and F1 of GMNER, MNER and EEG in percent."""
    scores = evaluate(answers, posts, progress=False)
    return {
        f"{task} {name}": getattr(getattr(scores, task.lower()), figure)
        for task in ("GMNER", "MNER", "EEG")
        for name, figure in (("Pre", "precision"), ("Rec", "recall"), ("F1", "f1"))
    }


def bias(answers: Sequence[Prediction], posts: Sequence[Post]) -> Figures:
    """Textual and visual bias, see `gmner.data.scoring.bias.Bias`."""
    found = evaluate(answers, posts, progress=False).bias
    return {
        "N-Pre": found.n_pre, "N-Rec": found.n_rec, "N-F1": found.n_f1,
        "grounded absent": found.grounded_absent, "N-Count": found.n_count, "N-Rate": found.n_rate,
    }  # fmt: skip


def names(answers: Sequence[Prediction], posts: Sequence[Post], title: str) -> Figures:
    """Precision and F1 of names and types in percent."""
    scores = evaluate(answers, posts, progress=False).mner
    return {f"{title} Pre": scores.precision, f"{title} F1": scores.f1}


def expressions(answers: Sequence[Prediction], posts: Sequence[Post], title: str) -> Figures:
    """Precision, N-acc and T-acc of referring expressions in percent."""
    scores = evaluate_expressions(answers, posts)
    return {f"{title} Pre": scores.precision, f"{title} N-acc": scores.n_acc, f"{title} T-acc": scores.t_acc}
