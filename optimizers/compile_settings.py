"""`CompileSettings`: the settings of one compile of MCR as a value that its stages and its plan share."""

from __future__ import annotations

from dataclasses import dataclass

from gmner.optimizers.cvo import CVO
from gmner.optimizers.mrsi import MRSI


@dataclass(frozen=True, slots=True)
class CompileSettings:
    """The settings of one compile; `gmner.MCR` documents each of them.

    Attributes:
        mrsi: Settings of the injection; None: it does not run.
        cvo: Settings of the optimization; None: it does not run.
        d1_share: D1's share of the posts, above 0 and at most 1.
        learnable_answers: Answers sampled to each post of D2 to filter it; None: D2 is not filtered.
        max_minutes: Minutes after which no training step begins; None: no limit.
        seed: Seed of split, chains, order and sampling.
        progress: Whether progress bars are shown.
    """

    mrsi: MRSI | None
    cvo: CVO | None
    d1_share: float = 1.0
    learnable_answers: int | None = None
    max_minutes: float | None = None
    seed: int = 0
    progress: bool = True

    @property
    def longest_answer(self) -> int:
        """Most tokens of an answer that CVO samples; 0: it does not run."""
        return 0 if self.cvo is None else self.cvo.max_completion_length
