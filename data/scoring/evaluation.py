"""`Evaluation`: the scores of a program on a set of posts."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from html import escape
from typing import Any

from gmner.data.prediction import Prediction
from gmner.data.scoring.bias import Bias
from gmner.data.scoring.counting import PostCounts
from gmner.data.scoring.entity_errors import Fault
from gmner.data.scoring.pairing import TASKS, Scores


@dataclass(frozen=True, kw_only=True)
class Figures:
    """The figures of a set of posts, in percent unless they are counts.

    Attributes:
        posts: Number of posts.
        gmner: Span, type and region.
        mner: Span and type.
        eeg: Span and region.
        bias: Textual and visual bias.
        found_of_shown: Share of the shown gold entities that were found and have a correct box; None if none is shown.
        boxed_of_absent: Share of the gold entities that are not shown but were found and have a box; None if all are
            shown.
        errors: Number of entities by error class, see `Fault`.
    """

    posts: int
    gmner: Scores
    mner: Scores
    eeg: Scores
    bias: Bias
    found_of_shown: float | None
    boxed_of_absent: float | None
    errors: Mapping[Fault, int]

    def to_dict(self) -> dict[str, Any]:
        """Convert the figures to JSON data; the keys are the names of the attributes."""
        names = [item.name for item in fields(Figures)]
        return {name: _json_value(getattr(self, name)) for name in names}


@dataclass(frozen=True, kw_only=True, repr=False)
class Evaluation(Figures):
    """The scores of a program on a set of posts.

    Attributes:
        protocol: Name of the scoring protocol.
        intervals: Task -> 95 % bootstrap interval (low, high) of F1 over posts.
        by_slice: Benchmark slice -> figures; empty if the posts have no slices.
        by_type: Entity type -> scores of `gmner` and `mner` among gold and predicted entities of that type.
        by_region: `shown` and `not shown` -> scores of `gmner` and `eeg` among gold and predicted entities with a box
            and without a box.
        grounded: Whether the posts have annotated regions; if not, only MNER is scored.
        missing: Ids of posts without a prediction; they are scored as empty answers.
        unknown: Ids of predictions that belong to no post; they are ignored.
        failed: Error kind -> number of posts whose prediction records such an error.
        predictions: The predictions, in the order of the posts.
        counts: The counts of each post by task, in the same order; see `gmner.data.scoring.resampling.compare`.
    """

    protocol: str
    intervals: Mapping[str, tuple[float, float]]
    by_slice: Mapping[str, Figures]
    by_type: Mapping[str, Mapping[str, Scores]]
    by_region: Mapping[str, Mapping[str, Scores]] = field(default_factory=dict)
    grounded: bool = True
    missing: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()
    failed: Mapping[str, int] = field(default_factory=dict)
    predictions: tuple[Prediction, ...] = ()
    counts: tuple[PostCounts, ...] = ()

    @property
    def tasks(self) -> tuple[str, ...]:
        """The tasks that can be scored on the posts."""
        return TASKS if self.grounded else ("mner",)

    def to_dict(self) -> dict[str, Any]:
        """Convert everything except predictions and counts to JSON data."""
        names = [item.name for item in fields(self) if item.name not in ("predictions", "counts")]
        return {name: _json_value(getattr(self, name)) for name in names}

    def summary(self) -> str:
        """Format the scores as a text table."""
        lines = [f"{self.posts:,} posts, protocol `{self.protocol}`, F1 with its 95 % interval", _ROW.format(*_HEAD)]
        lines += [_ROW.format(*row) for row in self.score_rows()]
        lines += ["  ".join(f"{name} {value}" for name, value in line.items()) for line in self._notes() if line]
        return "\n".join(lines)

    def score_rows(self) -> list[tuple[str, ...]]:
        """Rows (task, precision, recall, F1, interval) as text."""
        rows = []
        for task in self.tasks:
            scores, (low, high) = getattr(self, task), self.intervals[task]
            numbers = (f"{value:.2f}" for value in (scores.precision, scores.recall, scores.f1))
            rows.append((task.upper(), *numbers, f"{low:.1f} to {high:.1f}"))
        return rows

    def _notes(self) -> list[dict[str, object]]:
        bias = self.bias
        regions: list[dict[str, object]] = [
            {
                "boxed correctly if shown": percent(self.found_of_shown),
                "boxed if not shown": percent(self.boxed_of_absent),
            },
            {"N-Pre": percent(bias.n_pre), "N-Rec": percent(bias.n_rec), "N-F1": percent(bias.n_f1)},
            {"grounded absent": bias.grounded_absent},
            {f"GMNER F1 of {name}": percent(row["gmner"].f1) for name, row in self.by_region.items()},
        ]
        return [
            *(regions if self.grounded else []),
            {"N-Count": bias.n_count, "N-Rate": percent(bias.n_rate)},
            {f"MNER F1 of {name}": percent(row["mner"].f1) for name, row in self.by_type.items()},
            {fault.label: count for fault, count in self.errors.items() if count},
            {f"slice {name}": percent(figures.gmner.f1) for name, figures in self.by_slice.items()},
            {f"failed ({kind})": count for kind, count in self.failed.items()},
            {"posts without a prediction": len(self.missing)} if self.missing else {},
            {"predictions without a post": len(self.unknown)} if self.unknown else {},
        ]

    def __repr__(self) -> str:
        return self.summary()

    def _repr_html_(self) -> str:
        head = "".join(f"<th>{escape(name)}</th>" for name in _HEAD)
        rows = "".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in self.score_rows())
        notes = "<br>".join(
            escape(" · ".join(f"{name} {value}" for name, value in line.items())) for line in self._notes() if line
        )
        caption = f"{self.posts:,} posts, protocol {escape(self.protocol)}"
        return f"<table><caption>{caption}</caption><tr>{head}</tr>{rows}</table><p><small>{notes}</small></p>"


_ROW = "{:<6} {:>9} {:>7} {:>7}  {}"
_HEAD = ("", "precision", "recall", "F1", "interval")


def percent(value: float | None) -> str:
    """Format a figure in percent; a dash if it is None or NaN."""
    return "-" if value is None or math.isnan(value) else f"{value:.2f}"


def _json_value(value: Any) -> Any:
    """Convert a value to JSON data."""
    if hasattr(value, "to_dict"):
        return value.to_dict()
    if isinstance(value, Mapping):
        return {str(key): _json_value(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_json_value(item) for item in value]
    return value
