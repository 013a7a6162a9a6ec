"""Table 12: posts in which one modality dominates."""

from __future__ import annotations

from gmner.data.post import Post
from gmner.paper.arms import COT, MCR_ARM, SFT, Arm
from gmner.paper.data import GMNER_TEST
from gmner.paper.figures import f1s
from gmner.paper.runs import Runs
from gmner.paper.table import Figures, PaperTable, Row, measured

_ARMS = (COT, SFT, MCR_ARM)
_CLASSES = ("text", "image", "balanced")


def dominant(post: Post) -> str:
    """The modality that dominates a post, by what it names and what its images show.

    `text`: the post names entities, and its images show none of them. `image`: the images show every named entity.
    `balanced`: they show some of them. `none`: the post names no entity. `unknown`: its regions are not annotated, as
    in MNER-MI.

    Example:
        >>> classes = [replace(post, slice=dominant(post)) for post in posts]  # doctest: +SKIP
        >>> gmner.evaluate(program, classes).by_slice  # the classes of any data set  # doctest: +SKIP

    Source: ours. The paper (MCR, table 12) does not define the classes.
    """
    if not post.grounded:
        return "unknown"
    shown = {entity.visible for entity in post.gold}
    if not shown:
        return "none"
    return "balanced" if len(shown) == 2 else "image" if shown == {True} else "text"


def _rows(runs: Runs) -> list[Row]:
    posts = runs.data.test(GMNER_TEST)
    classes = {name: [post for post in posts if dominant(post) == name] for name in _CLASSES}

    def figures(arm: Arm, seed: int) -> Figures:
        answers, found = (
            {answer.id: answer for answer in runs.answers(arm, seed, GMNER_TEST)},
            dict[str, float | None](),
        )
        for name, some in classes.items():
            scores = f1s([answers[post.id] for post in some], some) if some else {}
            found |= {f"{name}, {column}": scores.get(column) for column in ("GMNER F1", "MNER F1")}
        return found

    return measured(runs, _ARMS, figures)


ONE_SIDED = PaperTable(
    "one-sided", "Table 12, posts in which one modality dominates", _rows, (GMNER_TEST,), _ARMS,
    notes="text: no named entity is shown; image: all are; balanced: some are. Posts without a name are left out.",
)  # fmt: skip
