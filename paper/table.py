"""`PaperTable`: one table of the paper, its rows, and how they are written as JSON and Markdown."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any

from gmner.data.listing import counted
from gmner.data.scoring.gold_version import GoldVersion
from gmner.paper.arms import COT, DIRECT, Arm
from gmner.paper.data import FINE_TEST
from gmner.paper.runs import Runs

Figures = Mapping[str, float | None]
"""Column -> value; None: there is nothing to count."""


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a table.

    Attributes:
        name: The arm or setting.
        seeds: The figures of each seed.
        ours: What of it is our choice.
        details: Further figures of each seed, for JSON only.
    """

    name: str
    seeds: tuple[Figures, ...]
    ours: str = ""
    details: tuple[Mapping[str, Any], ...] = ()

    def mean(self, column: str) -> float | None:
        """The mean over the seeds; None if a seed has no value."""
        values = [figures.get(column) for figures in self.seeds]
        known = [value for value in values if value is not None and not math.isnan(value)]
        return fmean(known) if known and len(known) == len(values) else None


@dataclass(frozen=True)
class PaperTable:
    """A table of the paper.

    Attributes:
        name: Its name on the command line.
        title: What it shows, with its number in the paper.
        rows: Computes the rows.
        tests: The test sets that it is computed on.
        arms: The arms that are trained or asked for it, without those that they start from.
        published: Row -> figures that were published for Twitter-GMNER, MNER-MI and GREC.
        notes: What is measured, and what of it is our choice.
        digits: Decimals of its figures, except for counts, which are integers.
    """

    name: str
    title: str
    rows: Callable[[Runs], list[Row]]
    tests: tuple[str, ...]
    arms: tuple[Arm, ...] = ()
    published: Mapping[str, Figures] = field(default_factory=dict)
    notes: str = ""
    digits: int = 1


def measured(runs: Runs, arms: Sequence[Arm], figures: Callable[[Arm, int], Figures]) -> list[Row]:
    """A row for each arm.

    Args:
        runs: The runs.
        arms: The arms, in order.
        figures: The figures of an arm with one seed.
    """
    return [Row(arm.name, tuple(figures(arm, seed) for seed in runs.seeds_of(arm)), arm.ours) for arm in arms]


def to_record(table: PaperTable, rows: Sequence[Row], runs: Runs) -> dict[str, Any]:
    """A table as JSON data: the figures of each seed, the published ones, and what they were measured on."""
    return {
        "table": table.name,
        "title": table.title,
        "data": _data(table, runs),
        "model": runs.model or "embedded model",
        "protocol": "paper",
        "gold": {name: GoldVersion.of(runs.data.test(name)).to_dict() for name in table.tests},
        "seeds": list(runs.seeds),
        "rows": [_record(row) for row in rows],
        "published": {name: dict(figures) for name, figures in table.published.items()},
        "notes": _notes(table, runs),
    }


def _record(row: Row) -> dict[str, Any]:
    details = {"details": [dict(seed) for seed in row.details]} if row.details else {}
    return {"name": row.name, "seeds": [dict(figures) for figures in row.seeds], "ours": row.ours, **details}


def _notes(table: PaperTable, runs: Runs) -> list[str]:
    """What the figures of a table say: in small, with fine types, and in general."""
    notes = [table.notes] if table.notes else []
    if FINE_TEST in table.tests:
        notes.insert(0, f"{len(runs.data.fine_labels.names)} types.")
    if runs.base.small and runs.model is None and {DIRECT, COT} <= {*table.arms}:
        notes.insert(0, "Untrained, the embedded model answers without reasoning, so that CoT is direct prompting.")
    if runs.base.small:
        steps = f"{runs.base.mrsi.max_steps} steps of SFT or MRSI and {runs.base.cvo.max_steps} of CVO"
        notes.insert(
            0, f"In small: the world and {steps}. The figures show that the command works, not how good a method is."
        )
    return notes


def _data(table: PaperTable, runs: Runs) -> str:
    """What the arms of a table are trained on."""
    return "Twitter-FMNERG" if FINE_TEST in table.tests and not runs.base.small else runs.data.name


def to_markdown(table: PaperTable, rows: Sequence[Row], runs: Runs) -> str:
    """A table as Markdown: means over the seeds with their range, and the published figures below."""
    columns = list(dict.fromkeys(name for row in rows for figures in row.seeds for name in figures))
    columns += [name for figures in table.published.values() for name in figures if name not in columns]
    seeds = counted(len(runs.seeds), "seed", "seeds")
    lines = [f"**{table.title}**, on {_data(table, runs)}, {runs.model or 'embedded model'}, {seeds}", ""]
    lines += [_line(["", *columns]), _line(["---", *(["---:"] * len(columns))])]
    lines += [_line([row.name, *(_cell(row, column, table.digits) for column in columns)]) for row in rows]
    for name, figures in table.published.items():
        cells = [_number(figures.get(column), table.digits) for column in columns]
        lines.append(_line([f"*{name}, published for the real data*", *cells]))
    gold = [f"{name}: {GoldVersion.of(runs.data.test(name))}" for name in table.tests]
    choices = [f"- {row.name}: {row.ours}." for row in rows if row.ours]
    said = [text for note in _notes(table, runs) for text in (note, "")]
    end = ["", "Gold: " + "; ".join(gold) + ". Protocol: paper.", "", *said]
    return "\n".join([*lines, *end, *(["Ours:", "", *choices] if choices else [])]).rstrip("\n") + "\n"


def _cell(row: Row, column: str, digits: int) -> str:
    mean = row.mean(column)
    values = [figures.get(column) for figures in row.seeds]
    if mean is None or len(values) < 2:
        return _number(None if mean is None else values[0], digits)
    known = [value for value in values if value is not None]
    return f"{_number(mean, digits)} ({_number(min(known), digits)} to {_number(max(known), digits)})"


def _number(value: float | None, digits: int) -> str:
    if value is None or math.isnan(value):
        return "-"
    return f"{value:,}" if isinstance(value, int) else f"{value:,.{digits}f}"


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
