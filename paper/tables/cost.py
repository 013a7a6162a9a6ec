"""Table 6: the cost of training and of inference beside SFT."""

from __future__ import annotations

import time

from gmner.paper.arms import COT, MCR_ARM, NO_CVO, SFT, Arm
from gmner.paper.data import GMNER_TEST
from gmner.paper.runs import Runs
from gmner.paper.table import Figures, PaperTable, Row, measured

_ARMS = (COT, SFT, NO_CVO, MCR_ARM)
_TIMED = 32
_GIB = 2**30


def _rows(runs: Runs) -> list[Row]:
    posts = runs.data.test(GMNER_TEST)[:_TIMED]

    def figures(arm: Arm, seed: int) -> Figures:
        cost, program = runs.cost(arm, seed), runs.program(arm, seed)
        program.batch_posts(posts[:2], progress=False)  # compiles grammars and loads libraries
        began = time.monotonic()
        answers = program.batch_posts(posts, progress=False)
        seconds = (time.monotonic() - began) / len(posts)
        letters = sum(len(answer.reasoning) for answer in answers) / len(posts)
        return {
            "training, minutes": cost.minutes,
            "steps of SFT or MRSI": float(cost.steps.get("mrsi", 0)),
            "steps of CVO": float(cost.steps.get("cvo", 0)),
            "training, peak GiB": cost.memory / _GIB,
            "inference, seconds a post": seconds,
            "reasoning, characters a post": letters,
        }

    return measured(runs, _ARMS, figures)


COST = PaperTable(
    "cost", "Table 6, cost of training and inference", _rows, (GMNER_TEST,), _ARMS,
    notes=f"Inference in batches, on the first {_TIMED} test posts. Without a GPU, the peak is that of the process.",
)  # fmt: skip
