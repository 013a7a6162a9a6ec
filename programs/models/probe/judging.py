"""Decides which coordinate convention explains boxes, or that none does. Pure functions, without a model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from gmner.programs.models.probe.conventions import Convention, Floats, ious, relative_boxes
from gmner.programs.models.probe.questions import Question
from gmner.programs.models.probe.reading import Numbers

LEAST_BOXES = 8
"""Fewer answers with a box decide nothing."""

LEAST_SHARE = 0.5
"""Least share of the questions that must be answered with a box."""

LEAST_IOU = 0.3
"""Least mean IoU of a convention that explains the answers."""

LEAST_LIFT = 0.2
"""Least difference between this mean IoU and the one by chance, that of answers to other questions."""

LEAST_MARGIN = 0.1
"""Least difference between the mean IoUs of the best convention and another one, where the two differ."""

SIGMAS = 3.0
"""Both differences are at least this many standard errors above zero."""

_SAME = 0.8
_LEAST_DIFFERENT = 4


@dataclass(frozen=True, slots=True)
class Answered:
    """Questions about things that are shown, with the numbers of the answers.

    Attributes:
        questions: The questions.
        numbers: The four numbers of each answer, as written; None: the answer has no box.
    """

    questions: tuple[Question, ...]
    numbers: tuple[Numbers | None, ...]


@dataclass(frozen=True, slots=True)
class Fit:
    """How well a convention explains answers.

    Attributes:
        convention: The convention.
        values: IoU of each answer, read in this convention; NaN for answers without a box.
        chance: Mean IoU of the answers with the places of other questions.
    """

    convention: Convention
    values: Floats
    chance: float

    @property
    def boxed(self) -> int:
        """Number of answers with a box."""
        return int(np.count_nonzero(~np.isnan(self.values)))

    @property
    def mean(self) -> float:
        """Mean IoU of the answers with a box; 0 if there are none."""
        return float(np.nanmean(self.values)) if self.boxed else 0.0

    @property
    def enough(self) -> bool:
        """Whether enough questions were answered with a box; see `LEAST_BOXES` and `LEAST_SHARE`."""
        return self.boxed >= max(LEAST_BOXES, LEAST_SHARE * len(self.values))

    @property
    def explains(self) -> bool:
        """Whether the mean IoU is clearly above chance; see `LEAST_IOU`, `LEAST_LIFT` and `SIGMAS`."""
        lift = self.mean - self.chance
        high = self.enough and self.mean >= LEAST_IOU and lift >= LEAST_LIFT
        return high and _above_zero(self.values[~np.isnan(self.values)] - self.chance)


@dataclass(frozen=True, slots=True)
class Judgement:
    """The conventions compared.

    Attributes:
        fits: The conventions, the best first.
        called: The convention that explains the answers clearly better than chance and than every other; None: there is
            none.
        reason: Why none was called; empty if one was.
    """

    fits: tuple[Fit, ...]
    called: Convention | None
    reason: str = ""

    def fit(self, convention: Convention | None) -> Fit | None:
        """The fit of a convention; None: it was not compared."""
        return next((fit for fit in self.fits if fit.convention == convention), None)


def fit(convention: Convention, answered: Answered, gold: Floats | None = None) -> Fit:
    """Read answers in a convention and compare them with the places of the things in question.

    Args:
        convention: The convention.
        answered: Questions and answers.
        gold: `places_of(answered.questions)`, if it is known.
    """
    gold = places_of(answered.questions) if gold is None else gold
    values = np.full(len(answered.questions), np.nan)
    boxed = [place for place, numbers in enumerate(answered.numbers) if numbers is not None]
    if not boxed:
        return Fit(convention, values, 0.0)
    sizes = [answered.questions[place].size for place in boxed]
    read = convention.relative(np.asarray([answered.numbers[place] for place in boxed], float), sizes)
    table = ious(read[:, None, None, :], gold[None]).max(axis=2)
    values[boxed] = table[np.arange(len(boxed)), boxed]
    others = np.ones(table.shape, bool)
    others[np.arange(len(boxed)), boxed] = False
    return Fit(convention, values, float(table[others].mean()) if others.any() else 0.0)


def places_of(questions: Sequence[Question]) -> Floats:
    """The boxes of all questions as shares, (questions, most boxes, 4), filled up with boxes without area."""
    gold = np.zeros((len(questions), max(len(question.boxes) for question in questions), 4))
    for row, question in zip(gold, questions, strict=True):
        row[: len(question.boxes)] = relative_boxes(question.boxes, [question.size] * len(question.boxes))
    return gold


def judge(answered: Answered, conventions: Sequence[Convention]) -> Judgement:
    """Find the convention that explains answers; see `call` for the rule.

    Args:
        answered: Questions and answers.
        conventions: The candidates; of candidates that coincide, the earlier one is called.
    """
    gold = places_of(answered.questions)
    return call([fit(convention, answered, gold) for convention in conventions], answered.questions)


def call(found: Sequence[Fit], questions: Sequence[Question]) -> Judgement:
    """Call a convention, or none.

    A convention is called if

    - at least half of the questions, and at least 8, were answered with a box,
    - the mean IoU of the answers, read in it, is at least 0.3,
    - this is at least 0.2 and three standard errors above the mean IoU with the places of other questions, which is
      what a model without any knowledge of the image reaches, and
    - it is at least 0.1 and three standard errors above that of every other convention, on the questions where the two
      place the thing in question differently (IoU below 0.8). Conventions that differ on fewer than four questions
      count as the same, and the earlier one is called.

    Args:
        found: How well each candidate explains the answers, in order of preference.
        questions: The questions that were answered.
    """
    order = sorted(range(len(found)), key=lambda place: (-found[place].mean, place))
    fits = tuple(found[place] for place in order)
    top = fits[0]
    if not top.enough:
        return Judgement(fits, None, f"it boxed only {top.boxed} of {len(questions)}")
    if not top.explains:
        return Judgement(fits, None, "its boxes fit no convention")
    coinciding = [place for place in order if found[place].explains and _same(top, found[place], questions)]
    best = found[min(coinciding)]
    for rival in fits:
        if not _same(best, rival, questions) and not beats(best, rival, questions):
            pair = f"{best.convention.title} ({best.mean:.2f}) and {rival.convention.title} ({rival.mean:.2f})"
            return Judgement(fits, None, f"its boxes fit {pair}")
    return Judgement(fits, best.convention)


def beats(best: Fit, other: Fit, questions: Sequence[Question]) -> bool:
    """Whether a fit is clearly better than another one on the questions where their conventions differ."""
    places = different(best.convention, other.convention, questions)
    if len(places) < _LEAST_DIFFERENT:
        return False
    gains = np.nan_to_num(best.values[places]) - np.nan_to_num(other.values[places])
    return bool(gains.mean() >= LEAST_MARGIN) and _above_zero(gains)


def different(a: Convention, b: Convention, questions: Sequence[Question]) -> list[int]:
    """Indices of the questions whose answer in convention `a`, read in convention `b`, is another place."""
    boxes, sizes = [question.boxes[0] for question in questions], [question.size for question in questions]
    numbers = a.written(boxes, sizes)
    first, second = a.relative(numbers, sizes), b.relative(numbers, sizes)
    # Small boxes may lose their area when they are written; equal numbers are the same place nevertheless.
    moved = (first != second).any(axis=1) & (ious(first, second) < _SAME)
    return np.flatnonzero(moved).tolist()


def _same(a: Fit, b: Fit, questions: Sequence[Question]) -> bool:
    """Whether too few questions could tell two conventions from each other."""
    return len(different(a.convention, b.convention, questions)) < _LEAST_DIFFERENT


def _above_zero(values: Floats) -> bool:
    """Whether the mean is at least `SIGMAS` standard errors above zero."""
    error = float(values.std(ddof=1)) / len(values) ** 0.5 if len(values) > 1 else float("inf")
    return float(values.mean()) >= SIGMAS * max(error, 1e-9)
