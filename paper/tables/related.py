"""Table 2: MNER-MI and GREC."""

from __future__ import annotations

from gmner.paper.arms import COT, MCR_ARM, SFT, Arm
from gmner.paper.data import MNER_TEST
from gmner.paper.figures import expressions, names
from gmner.paper.runs import Runs
from gmner.paper.table import Figures, PaperTable, Row, measured

_ARMS = (COT, SFT, MCR_ARM)
_GREC = ("GREC testA", "GREC testB")


def _rows(runs: Runs) -> list[Row]:
    def figures(arm: Arm, seed: int) -> Figures:
        found = dict(names(runs.answers(arm, seed, MNER_TEST), runs.data.test(MNER_TEST), MNER_TEST))
        for name in _GREC:
            found |= expressions(runs.answers(arm, seed, name), runs.data.test(name), name)
        return found

    return measured(runs, _ARMS, figures)


RELATED = PaperTable(
    "related",
    "Table 2, MNER-MI and GREC",
    _rows,
    (MNER_TEST, *_GREC),
    _ARMS,
    {"MCR": {"MNER-MI Pre": 84.7, "GREC testA N-acc": 75.7, "GREC testB N-acc": 71.9}},
    "Expressions of GREC have at most one target, as in the paper; those of the world have several, too. Pre of GREC: "
    "share of expressions whose boxes match the targets one to one at IoU >= 0.5; N-acc: share of those without a "
    "target that get no box; T-acc: share of the others that get one.",
)
