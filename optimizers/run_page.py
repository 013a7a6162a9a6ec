"""The HTML page of a compile, or of several side by side, made from `gmner.optimizers.run_summary`.

The page can be written while a compile runs, and again afterwards.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from urllib.parse import quote

from markupsafe import Markup, escape

from gmner.data.files.atomic import whole_text
from gmner.data.listing import distinct_names
from gmner.data.pages.answers_page import page_script, render_page
from gmner.optimizers.curves import Curve, draw_key, draw_panels
from gmner.optimizers.run_summary import RunSummary, StageSummary, read_run
from gmner.optimizers.training.rollouts import PAGE
from gmner.signatures.errors import InputError

RUN_PAGE = "run.html"


@dataclass(frozen=True, slots=True)
class StageSection:
    """A stage on the page: its name, each run's state and progress, and an SVG of each figure with all runs."""

    name: str
    states: Sequence[tuple[str, StageSummary]]
    curves: Sequence[Markup]


def write_run_page(
    run_dir: str | Path | Sequence[str | Path], output: str | Path | None = None, *, refresh: int | None = None
) -> Path:
    """Write the page of a run, or of several runs side by side.

    Args:
        run_dir: The run directory of a compile that is running, stopped or done, or several.
        output: The HTML file. None: `run.html` in the (first) run directory.
        refresh: Number of seconds after which a browser loads the page again, unless a sample or the settings are open.
            None: never.

    Returns:
        The path of the page. It is a single file that loads nothing else, and links to `cvo/rollouts.html` of the run
        directories if those exist.

    Raises:
        InputError: A folder is not the run directory of a compile.
    """
    folders = [Path(run_dir)] if isinstance(run_dir, (str, Path)) else [Path(folder) for folder in run_dir]
    path = folders[0] / RUN_PAGE if output is None else Path(output)
    page = render_run(*folders, page=path, refresh=refresh)
    with whole_text(path) as file:
        file.write(page)
    return path


def is_run_page(page: Path, *folders: Path) -> bool:
    """Whether a file is an earlier page of these runs."""
    with page.open("rb") as file:
        return f"<title>{escape(_title(folders))}</title>".encode() in file.read(4096)


def _title(folders: Sequence[Path]) -> str:
    return f"Compile: {' and '.join(_run_names(folders))}"


def _run_names(folders: Sequence[Path]) -> list[str]:
    """A name for each run directory."""
    return distinct_names([folder.resolve() for folder in folders])


def render_run(*folders: Path, page: Path | None = None, refresh: int | None = None) -> str:
    """The page of runs as HTML; see `write_run_page`.

    Args:
        folders: The run directories.
        page: The path of the page, for its links to files of the runs. None: in the first run directory.
        refresh: See `write_run_page`.

    Raises:
        InputError: There is no folder, one is given twice, or one is not the run directory of a compile.
    """
    if not folders or len({folder.resolve() for folder in folders}) < len(folders):
        raise InputError("A page needs different run directories", received=", ".join(map(str, folders)))
    runs = dict(zip(_run_names(folders), map(read_run, folders), strict=True))
    single = next(iter(runs.values())) if len(runs) == 1 else None
    columns = [scores for run in runs.values() for scores in run.scores.values()]
    place = folders[0] if page is None else page.parent
    links = [(name, _link(folder / "cvo" / PAGE, place)) for name, folder in zip(runs, folders, strict=True)]
    return render_page(
        "run.html.j2",
        title=_title(folders),
        refresh=refresh,
        written=f"{datetime.now():%H:%M:%S}",
        **page_script("run.js.j2"),
        alerts=[(name, alert) for name, run in runs.items() for alert in run.alerts],
        runs=[(name, Markup(draw_key(number))) for number, name in enumerate(runs)],
        facts=_rows([run.facts for run in runs.values()]),
        stages=_sections(runs),
        scored=[(name, list(run.scores)) for name, run in runs.items() if run.scores],
        tables=[
            ("Scores on the validation set", _rows([scores.figures for scores in columns])),
            ("GMNER F1 by slice (posts)", _rows([scores.by_slice for scores in columns])),
        ],
        samples=single.samples if single else [],
        rollouts=[(name, link) for name, link in links if link],
        settings=[(name, run.settings) for name, run in runs.items()],
        changed=_rows([run.setting_rows for run in runs.values()], changed=True) if not single else [],
    )


def _rows(columns: Sequence[dict[str, str]], *, changed: bool = False) -> list[tuple[str, list[str]]]:
    """Rows of (name, value in each column); `-` where a column lacks it. With `changed`, only those that differ."""
    names = dict.fromkeys(name for column in columns for name in column)
    rows = [(name, [column.get(name, "-") for column in columns]) for name in names]
    return [(name, cells) for name, cells in rows if not changed or len(set(cells)) > 1]


def _sections(runs: dict[str, RunSummary]) -> list[StageSection]:
    """The stages with the states and curves of all runs."""
    sections = []
    for name in dict.fromkeys(stage.name for run in runs.values() for stage in run.stages):
        states = [(run, stage) for run, summary in runs.items() for stage in summary.stages if stage.name == name]
        panels: dict[str, dict[str, Curve]] = {}
        for run, stage in states:
            for title, curve in stage.curves.items():
                if len(curve) > 1:
                    panels.setdefault(title, {})["" if len(runs) == 1 else run] = curve
        # All runs in the order of the page, so that each has the same colour everywhere.
        ordered = {t: {run: p.get(run, {}) for run in ([""] if len(runs) == 1 else runs)} for t, p in panels.items()}
        sections.append(StageSection(name, states, [Markup(svg) for svg in draw_panels(ordered)]))
    return sections


def _link(file: Path, start: Path) -> str:
    """The relative URL of a file for a page in the folder `start`; empty if the file does not exist."""
    return quote(Path(os.path.relpath(file.resolve(), start.resolve())).as_posix()) if file.is_file() else ""
