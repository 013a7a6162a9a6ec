"""Table 1: GMNER, MNER and EEG on Twitter-GMNER."""

from __future__ import annotations

from gmner.paper.arms import COT, COT_3, DIRECT, MCR_ARM, SFT
from gmner.paper.data import GMNER_TEST
from gmner.paper.figures import precisions
from gmner.paper.runs import Runs
from gmner.paper.table import PaperTable, Row, measured

_ARMS = (DIRECT, COT, COT_3, SFT, MCR_ARM)


def _rows(runs: Runs) -> list[Row]:
    posts = runs.data.test(GMNER_TEST)
    return measured(runs, _ARMS, lambda arm, seed: precisions(runs.answers(arm, seed, GMNER_TEST), posts))


def _published(gmner: float, mner: float, eeg: float) -> dict[str, float]:
    return {"GMNER F1": gmner, "MNER F1": mner, "EEG F1": eeg}


MAIN = PaperTable(
    "main",
    "Table 1, main results",
    _rows,
    (GMNER_TEST,),
    _ARMS,
    {
        "MCR": _published(70.6, 82.8, 73.4),
        "SCANNER": {"GMNER F1": 68.5},
        "RiVEG": _published(67.06, 85.94, 70.01),
        "MQSPN": _published(58.76, 80.43, 62.40),
        "TIGER": _published(56.63, 80.28, 61.26),
        "H-Index": _published(56.41, 79.73, 61.18),
        "BART, names from text, all not shown": _published(44.82, 79.83, 48.99),
    },
    "The published EEG F1 of MCR is read from its text, to about a tenth.",
)
