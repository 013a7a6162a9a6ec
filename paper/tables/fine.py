"""Table 11: Twitter-FMNERG."""

from __future__ import annotations

from gmner.paper.arms import COT, MCR_ARM, SFT
from gmner.paper.data import FINE_TEST
from gmner.paper.figures import f1s
from gmner.paper.runs import Runs
from gmner.paper.table import PaperTable, Row, measured

_ARMS = (COT, SFT, MCR_ARM)


def _rows(runs: Runs) -> list[Row]:
    posts = runs.data.test(FINE_TEST)
    return measured(runs, _ARMS, lambda arm, seed: f1s(runs.answers(arm, seed, FINE_TEST, fine=True), posts))


FINE = PaperTable(
    "fmnerg", "Table 11, Twitter-FMNERG", _rows, (FINE_TEST,), _ARMS,
    notes="Trained on the posts of this data set alone. Twitter-FMNERG has 51 types, and 8 with --coarse.",
)  # fmt: skip
