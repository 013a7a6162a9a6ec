"""`gmner world`: posts of the synthetic world, their statistics, and a model's scores on them, slice by slice."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from gmner.data.files.atomic import atomic_path, encoded, whole_folder
from gmner.data.files.outputs import exists, other_than_posts
from gmner.data.jsonl import write_posts
from gmner.data.oddities import Posts
from gmner.data.post import Post
from gmner.data.scoring.evaluate import evaluate
from gmner.data.scoring.evaluation import Evaluation, Figures, percent
from gmner.data.scoring.expressions import evaluate_expressions
from gmner.data.scoring.pairing import Scores
from gmner.data.world.generate import WORLD_VERSION, World
from gmner.data.world.plans import SLICES
from gmner.data.world.related import expression_posts, name_posts
from gmner.data.world.sheet import contact_sheet
from gmner.data.world.statistics import TWITTER_GMNER, Statistics, side_by_side, statistics
from gmner.signatures.errors import InputError
from gmner.signatures.mentions import Task

if TYPE_CHECKING:
    from gmner.programs.program import GroundingProgram

SHEET_POSTS = 24
"""Posts on a contact sheet."""


@dataclass(frozen=True)
class WorldReport:
    """The report of `gmner world`.

    Attributes:
        seed: Seed of the world.
        split: The split of the posts.
        statistics: Statistics of the posts.
        evaluation: The model's scores; None: no model was evaluated.
        model: Name of the model; None: no model was evaluated.
    """

    seed: int
    split: str
    statistics: Statistics
    evaluation: Evaluation | None = None
    model: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """The report as JSON data: `world`, `statistics`, `twitter_gmner`, and `model` and `evaluation` or null."""
        return {
            "world": {"version": WORLD_VERSION, "seed": self.seed, "split": self.split},
            "statistics": self.statistics.to_dict(),
            "twitter_gmner": TWITTER_GMNER.to_dict(),
            "model": self.model,
            "evaluation": None if self.evaluation is None else self.evaluation.to_dict(),
        }

    def summary(self) -> str:
        """The report as text for a terminal."""
        columns = {"the world": self.statistics, "Twitter-GMNER": TWITTER_GMNER}
        head = f"World {WORLD_VERSION}, seed {self.seed}, split `{self.split}`; Twitter-GMNER v2.0, split `train`"
        parts = [head, _table(side_by_side(columns))]
        if self.evaluation is not None:
            parts += [f"Scores of {self.model}, by slice", slice_table(self.evaluation)]
        return "\n\n".join(parts)


def world_report(
    posts: Sequence[Post], seed: int, split: str, program: GroundingProgram | None = None, *, progress: bool = True
) -> WorldReport:
    """Compute statistics of posts of the world and, if a program is given, evaluate it on them.

    Args:
        posts: Posts of one split.
        seed: Seed of the world, for the report.
        split: The split, for the report.
        program: The program to evaluate; None: statistics only.
        progress: Show a progress bar.

    Raises:
        InputError: There are no posts.
    """
    post_statistics = statistics(posts)
    if program is None:
        return WorldReport(seed, split, post_statistics)
    evaluation = evaluate(program.batch_posts(posts, progress=progress), posts)
    return WorldReport(seed, split, post_statistics, evaluation, program.model.model)


def related_report(posts: Sequence[Post], program: GroundingProgram | None = None) -> dict[str, Any]:
    """Count posts of a related task by slice and, if a program is given, evaluate it on them.

    Args:
        posts: Posts of one task, see `draw_posts`.
        program: The program to evaluate, with its prompt for this task.

    Returns:
        JSON data: `posts`, `slices`, and with a program `model`, `scores` (precision, recall and F1 of MNER in percent,
        or those of `evaluate_expressions`) and `failed` (kind of error -> number of posts).
    """
    counts: dict[str, Any] = {"posts": len(posts), "slices": dict(Counter(post.slice or "" for post in posts))}
    if program is None:
        return counts
    from gmner.programs.related_tasks import RELATED, RelatedTasks, answer_by_task  # imports dspy

    kind = RELATED[posts[0].task]
    if not isinstance(program, (RelatedTasks, kind)):  # the bundle of another related task
        program = program.with_task(kind)
    answers = answer_by_task(program, posts)
    if posts[0].task == "grec":
        scores: Mapping[str, Any] = evaluate_expressions(answers, posts).to_dict()
    else:
        mner = evaluate(answers, posts).mner
        scores = {"precision": mner.precision, "recall": mner.recall, "f1": mner.f1}
    failed = Counter(answer.error["kind"] for answer in answers if answer.error)
    return {**counts, "model": program.model.model, "scores": scores, "failed": dict(failed)}


def draw_posts(
    split: str, count: int, seed: int = 0, *, task: Task = "gmner", pictures: int = 1, progress: bool = True
) -> Posts:
    """Generate posts of the world, with a progress bar if it takes more than two seconds.

    Args:
        split: See `World.posts`.
        count: Number of posts.
        seed: Seed of the world.
        task: `gmner`; or `mner` or `grec` for posts as in `gmner.data.world.related`.
        pictures: Images of a post of the task `mner`.
        progress: Show a progress bar.

    Raises:
        InputError: Unknown split.
    """
    world = World(seed=seed)
    one: Mapping[Task, Callable[[int], Post]] = {
        "gmner": lambda number: world.post(split, number),
        "mner": lambda number: name_posts(world, split, 1, start=number, pictures=pictures)[0],
        "grec": lambda number: expression_posts(world, split, 1, start=number)[0],
    }
    numbers = tqdm(range(count), desc="drawing", unit="post", delay=2, disable=not progress)
    return Posts(map(one[task], numbers))


_FIGURES: Mapping[str, Callable[[Figures], str]] = {
    "posts": lambda f: f"{f.posts:,}",
    "GMNER F1": lambda f: _f1(f.gmner),
    "MNER F1": lambda f: _f1(f.mner),
    "boxed correctly if shown, %": lambda f: percent(f.found_of_shown),
    "boxed if not shown, %": lambda f: percent(f.boxed_of_absent),
    "N-Rec, %": lambda f: percent(f.bias.n_rec),
    "grounded absent": lambda f: "-" if f.bias.grounded_absent is None else f"{f.bias.grounded_absent:,}",
    "N-Rate, %": lambda f: percent(f.bias.n_rate),
}


def slice_table(evaluation: Evaluation) -> str:
    """The scores of every slice and of all posts as a text table; a dash means that there is nothing to count."""
    names = [name for name in SLICES if name in evaluation.by_slice]
    rows: dict[str, Figures] = {name: evaluation.by_slice[name] for name in names} | {"all": evaluation}
    cells = [(name, *(figure(part) for figure in _FIGURES.values())) for name, part in rows.items()]
    return _table([("", *_FIGURES), *cells])


def _f1(scores: Scores) -> str:
    return percent(scores.f1 if scores.gold else None)


def _table(rows: Sequence[tuple[str, ...]]) -> str:
    """Format rows of text, with the first column aligned left and the others right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = (
        "  ".join(
            [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
        )
        for row in rows
    )
    return "\n".join(lines)


def check_places(folder: Path | None, sheet: Path | None) -> None:
    """Check the output paths; call it before the posts are generated.

    Raises:
        InputError: `folder` is a file or contains something other than posts, or `sheet` is not the path of a PNG file.
    """
    if folder is not None and exists(folder):
        foreign = other_than_posts(folder)
        if foreign or not (folder / "posts.jsonl").is_file():
            place = foreign[0] if foreign else folder
            accepted = "a folder that does not exist, is empty or contains nothing but posts"
            raise InputError("The posts would overwrite something else", received=str(place), accepted=accepted)
    if sheet is not None and (sheet.is_dir() or sheet.suffix.lower() != ".png"):
        accepted = "the path of a file that ends in .png"
        raise InputError("The contact sheet must be a PNG file", received=str(sheet), accepted=accepted)


def write_folder(posts: Sequence[Post], folder: Path) -> Path:
    """Write posts with their images; the folder is written atomically.

    Args:
        posts: The posts.
        folder: The folder, which is replaced if it exists; `read_posts(folder)` reads the posts.

    Raises:
        InputError: The folder contains something other than posts.
    """
    check_places(folder, None)
    with whole_folder(folder) as new:
        write_posts(tqdm(posts, desc="writing", unit="post", delay=2), new)
    return folder


def write_sheet(posts: Sequence[Post], path: Path) -> Path:
    """Write a contact sheet of the first `SHEET_POSTS` posts as a PNG; the file is written atomically.

    Raises:
        InputError: There are no posts.
    """
    data, _ = encoded(contact_sheet(posts[:SHEET_POSTS]))
    with atomic_path(path) as name:
        name.write_bytes(data)
    return path
