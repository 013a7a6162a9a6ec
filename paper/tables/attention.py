"""Table 5: attention to text and image."""

from __future__ import annotations

from typing import Any

from gmner.data.files.atomic import whole_text
from gmner.optimizers.curves import draw_curves
from gmner.paper.arms import COT, MCR_ARM, Arm
from gmner.paper.attention import CASES, FROM, TO, AttentionShares, attention_shares
from gmner.paper.data import GMNER_TEST
from gmner.paper.runs import Runs
from gmner.paper.table import Figures, PaperTable, Row

_ARMS = (COT, MCR_ARM)
_POSTS = 60
PLOT = "attention.svg"


def _rows(runs: Runs) -> list[Row]:
    posts = runs.data.test(GMNER_TEST)[:_POSTS]
    measured: dict[tuple[str, int], AttentionShares] = {}
    for arm in _ARMS:
        for seed in runs.seeds_of(arm):
            answers = runs.answers(arm, seed, GMNER_TEST)[:_POSTS]
            program = runs.program(arm, seed)
            measured[arm.name, seed] = attention_shares(program, posts, answers, progress=runs.progress)
    if runs.first:
        _draw(runs, measured)
    return [_row(runs, arm, case, measured) for arm in _ARMS for case in CASES]


def _row(runs: Runs, arm: Arm, case: str, measured: dict[tuple[str, int], AttentionShares]) -> Row:
    def figures(seed: int) -> Figures:
        shares = measured[arm.name, seed]
        means = {f"{source} to {target}": shares.mean(case, source, target) for source in FROM for target in TO}
        return {"entities": shares.counts[case], **means}

    def by_layer(seed: int) -> dict[str, Any]:
        shares = measured[arm.name, seed]
        return {f"{source} to {target}": shares.by_layer(case, source, target) for source in FROM for target in TO}

    seeds = runs.seeds_of(arm)
    return Row(f"{arm.name}: {case}", tuple(map(figures, seeds)), details=tuple(map(by_layer, seeds)))


def _draw(runs: Runs, measured: dict[tuple[str, int], AttentionShares]) -> None:
    """Write the shares of the first seed by layer: one panel for each part and target, one curve for each row."""
    seed = runs.seeds[0]
    panels = {
        f"{source} to {target}, %": {
            f"{arm.name}: {case}": dict(enumerate(measured[arm.name, seed].by_layer(case, source, target)))
            for arm in _ARMS
            for case in CASES
        }
        for target in TO
        for source in FROM
    }
    with whole_text(runs.path / PLOT) as file:
        file.write(draw_curves(panels, columns=len(FROM), axis="layers", legend=True))


ATTENTION = PaperTable(
    "attention", "Table 5, attention", _rows, (GMNER_TEST,), _ARMS,
    notes="Share in percent of the attention of the tokens of span, verdict (visible) and box, as a mean over heads "
    f"and layers, on the first {_POSTS} test posts; {PLOT} and the JSON have it by layer. How attention is counted is "
    "ours. The box of an entity that is not shown is null.",
)  # fmt: skip
