"""Table 6: the cost of training and of inference beside SFT."""

from __future__ import annotations

import time
from collections.abc import Sequence

import dspy

from gmner.data.post import Post
from gmner.paper.arms import COT, MCR_ARM, NO_CVO, SFT, Arm
from gmner.paper.data import GMNER_TEST
from gmner.paper.runs import Runs, peak_memory
from gmner.paper.table import Figures, PaperTable, Row, measured
from gmner.programs.gmner import GMNER

_ARMS = (COT, SFT, NO_CVO, MCR_ARM)
_TIMED = 32
_GIB = 2**30


def _rows(runs: Runs) -> list[Row]:
    posts = runs.data.test(GMNER_TEST)[:_TIMED]

    def figures(arm: Arm, seed: int) -> Figures:
        cost = runs.cost(arm, seed)
        trained = bool(cost.steps)
        return {
            "training, minutes": cost.minutes if trained else None,
            "steps of SFT or MRSI": cost.steps.get("mrsi", 0),
            "steps of CVO": cost.steps.get("cvo", 0),
            "training, thousand tokens": sum(cost.tokens.values()) / 1000 if cost.tokens else None,
            "training, peak GiB": cost.memory / _GIB if trained else None,
            **_inference(runs.program(arm, seed), posts),
        }

    return measured(runs, _ARMS, figures)


def _inference(program: GMNER, posts: Sequence[Post]) -> Figures:
    """Time, tokens and memory of answering the posts in batches."""
    program.batch_posts(posts[:2], progress=False)  # compiles grammars and loads libraries
    peak_memory(reset=True)
    began = time.monotonic()
    with dspy.track_usage() as usage:
        answers = program.batch_posts(posts, progress=False)
    seconds = time.monotonic() - began
    (tokens,) = usage.get_total_tokens().values()
    return {
        "inference, seconds a post": seconds / len(posts),
        "tokens read a post": tokens["prompt_tokens"] / len(posts),
        "tokens written a post": tokens["completion_tokens"] / len(posts),
        "reasoning, characters a post": sum(len(answer.reasoning) for answer in answers) / len(posts),
        "inference, peak GiB": peak_memory() / _GIB,
    }


COST = PaperTable(
    "cost", "Table 6, cost of training and inference", _rows, (GMNER_TEST,), _ARMS,
    notes=f"Inference in batches, on the first {_TIMED} test posts; tokens read include those of the image. Training "
    "of MCR includes that of w/o CVO. Without a GPU, a peak is that of the process until then, also of earlier arms.",
    digits=2,
)  # fmt: skip
