"""Table 10: sensitivity to sigma and to the weights of the count and entailment rewards (l1 and l5)."""

from __future__ import annotations

from collections.abc import Mapping

from gmner.optimizers.rewards import DEFAULT_WEIGHTS
from gmner.paper.arms import MCR_ARM, NO_CVO, Arm, rewarded
from gmner.paper.data import GMNER_TEST
from gmner.paper.figures import f1s
from gmner.paper.runs import Runs
from gmner.paper.table import PaperTable, Row, measured

_SIGMA, _COUNT, _ENTAILMENT = 0.5, DEFAULT_WEIGHTS["count"], DEFAULT_WEIGHTS["entailment"]
_SETTINGS: Mapping[str, Mapping[str, float]] = {
    **{f"sigma {value:g}": {"sigma": value} for value in (0.3, 0.7)},
    **{f"l1 {value:g}": {"count": value} for value in (0.1, 1.0)},
    **{f"l5 {value:g}": {"entailment": value} for value in (0.5, 1.0)},
}
_ARMS = tuple(Arm(name, rewarded(**changed), NO_CVO.name) for name, changed in _SETTINGS.items())


def _rows(runs: Runs) -> list[Row]:
    posts = runs.data.test(GMNER_TEST)
    return measured(runs, (MCR_ARM, *_ARMS), lambda arm, seed: f1s(runs.answers(arm, seed, GMNER_TEST), posts))


SENSITIVITY = PaperTable(
    "sensitivity", "Table 10, sensitivity of CVO", _rows, (GMNER_TEST,), (MCR_ARM, *_ARMS),
    notes=f"The row MCR has sigma {_SIGMA:g}, l1 {_COUNT:g} and l5 {_ENTAILMENT:g}; every other row changes one. The "
    "grid is ours.",
)  # fmt: skip
