"""Table 4 and figure 3: textual and visual bias."""

from __future__ import annotations

from gmner.paper.arms import COT, DIRECT, MCR_ARM, NO_CVO, SFT
from gmner.paper.data import GMNER_TEST
from gmner.paper.figures import bias
from gmner.paper.runs import Runs
from gmner.paper.table import PaperTable, Row, measured

_ARMS = (DIRECT, COT, SFT, NO_CVO, MCR_ARM)


def _rows(runs: Runs) -> list[Row]:
    posts = runs.data.test(GMNER_TEST)
    return measured(runs, _ARMS, lambda arm, seed: bias(runs.answers(arm, seed, GMNER_TEST), posts))


BIAS = PaperTable(
    "bias", "Table 4, textual and visual bias", _rows, (GMNER_TEST,), _ARMS,
    notes="The definitions are ours, see docs/scoring.md; the paper gives the names only.",
)  # fmt: skip
