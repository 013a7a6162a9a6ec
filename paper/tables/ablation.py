"""Table 3: what each part of MCR contributes."""

from __future__ import annotations

from gmner.paper.arms import MCR_ARM, NO_CVO, NO_INSTRUCTION, NO_MRSI, NO_STYLES
from gmner.paper.data import GMNER_TEST
from gmner.paper.figures import f1s
from gmner.paper.runs import Runs
from gmner.paper.table import PaperTable, Row, measured

_ARMS = (MCR_ARM, NO_MRSI, NO_CVO, NO_STYLES, NO_INSTRUCTION)


def _rows(runs: Runs) -> list[Row]:
    posts = runs.data.test(GMNER_TEST)
    return measured(runs, _ARMS, lambda arm, seed: f1s(runs.answers(arm, seed, GMNER_TEST), posts))


ABLATION = PaperTable("ablation", "Table 3, ablation", _rows, (GMNER_TEST,), _ARMS)
