"""`CompileSettings`: the settings of one compile of MCR, as a checked value that its stages and its plan share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from gmner.optimizers.cvo import CVO
from gmner.optimizers.mixture import check_weights
from gmner.optimizers.mrsi import MRSI
from gmner.signatures.errors import InputError
from gmner.signatures.number_checks import check_integer, check_positive, check_share


@dataclass(frozen=True, kw_only=True, slots=True)
class CompileSettings:
    """The settings of one compile; `gmner.MCR` has their defaults.

    Attributes:
        mrsi: Settings of MRSI. None: it does not run.
        cvo: Settings of CVO. None: it does not run.
        d1_share: D1's share of the posts, above 0 and at most 1.
        holdout: Share of the training set that is held out for validation, below 1.
        learnable_answers: Answers sampled per post of D2 to filter it. None: D2 is not filtered.
        max_minutes: Minutes after which no training step begins. None: no limit.
        task_weights: How often the posts of a task are drawn, see `gmner.optimizers.mixture.drawn`.
        seed: Seed of split, chains, order and sampling.
        progress: Whether progress bars are shown.
        leave_out_invalid: Whether posts with an unusable annotation are left out instead of refused.

    Raises:
        InputError: No stage, or a value out of range.
    """

    mrsi: MRSI | None
    cvo: CVO | None
    d1_share: float
    holdout: float
    learnable_answers: int | None
    max_minutes: float | None
    task_weights: Mapping[str, float]
    seed: int
    progress: bool
    leave_out_invalid: bool

    def __post_init__(self) -> None:
        """Refuse unusable settings."""
        for kind, stage in ((MRSI, self.mrsi), (CVO, self.cvo)):
            if stage is not None and not isinstance(stage, kind):
                name = kind.__name__
                raise InputError(f"{name.lower()} must be {name}(...) or None", received=stage)
        if self.mrsi is None and self.cvo is None:
            raise InputError("MCR needs MRSI, CVO or both", received=(self.mrsi, self.cvo))
        check_share("d1_share", self.d1_share, zero=False)
        check_share("holdout", self.holdout, zero=True)
        check_positive("max_minutes", self.max_minutes, optional=True)
        check_weights(self.task_weights)
        check_integer("seed", self.seed, least=0)
        because = "because a single answer does not vary"
        check_integer("learnable_answers", self.learnable_answers, least=2, optional=True, why=because)

    @property
    def longest_answer(self) -> int:
        """Maximum number of tokens of an answer that CVO samples; 0 if CVO does not run."""
        return 0 if self.cvo is None else self.cvo.max_completion_length
