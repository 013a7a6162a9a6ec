"""CVO's five verifiable rewards, one a constraint, as plain callables that a `GRPOTrainer` takes as they are.

Everything a reward needs about a row comes from four columns of plain JSON values (`reward_columns`), so any trainer
that hands its columns to its reward functions can use them, without the rest of this library:

    args = GRPOConfig(reward_weights=list(DEFAULT_WEIGHTS.values()))
    trainer = GRPOTrainer(model, reward_funcs=cvo(), args=args, train_dataset=dataset)

A completion is parsed strictly and never repaired. One that is no valid answer (not the JSON asked for, an unknown
type, a span that is not in the text, a box outside the frame or with reversed corners) earns 0 on every reward. Only
that makes a 0: any other error, such as gold data that does not fit its text, is raised and stops the training.

Source: the five constraints and R = l1 R_c + l2 R_s + l3 R_t + l4 R_u + l5 R_e are the paper's (MCR, arXiv 2602.04486,
CVO); it does not give the formulas, the weights, sigma or the matching: those are ours.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from gmner.optimizers.rewards.batch import judgements, whole_answers
from gmner.optimizers.rewards.formulas import FORMULAS, grounding_reward
from gmner.optimizers.rewards.judgement import (
    DEFAULT_FORMAT,
    Finding,
    Judgement,
    completion_text,
    judge,
    reward_columns,
)
from gmner.optimizers.rewards.own import JudgedReward, judged, register
from gmner.signatures.boxes import BoxFormat
from gmner.signatures.errors import InputError
from gmner.signatures.labels import COARSE, LabelSet, as_labels

__all__ = [
    "DEFAULT_WEIGHTS",
    "Finding",
    "JudgedReward",
    "Judgement",
    "Reward",
    "completion_text",
    "cvo",
    "grounding",
    "judge",
    "judged",
    "judgements",
    "register",
    "reward_columns",
    "whole_answers",
]

DEFAULT_WEIGHTS: Mapping[str, float] = MappingProxyType(
    {"count": 0.2, "span": 1.0, "type": 0.5, "grounding": 1.0, "entailment": 2.0}
)
"""The weights l1 to l5, in the order of `cvo`; our choice, the paper does not publish its own.

`count` is small for a reason: an answer whose names are all right must not gain by a made-up one that fills up the
count. R_s loses more than R_c gains while l1 / l2 <= 2 n / ((n + 1) (n + 2)), n gold mentions: with 0.2, up to six.
`entailment` is doubled, by scores on dev posts of the world.
"""


@dataclass(frozen=True, slots=True)
class Reward:
    """One reward of CVO, as a reward function of TRL's `GRPOTrainer`; made by `cvo`.

    Args:
        name: `count`, `span`, `type`, `grounding` or `entailment`; TRL logs it as `rewards/<name>/mean`.
        labels: The entity types of an answer; `CVO` replaces the default with those of the program.
        box_format: The frame in which the model writes boxes; `CVO` replaces the default with that of the program.
        sigma: IoU from which on a box counts, in 0..1; only `grounding` looks at it.
        soft: See `grounding_reward`.

    Raises:
        InputError: Another name, or a sigma outside 0..1.
    """

    name: str
    labels: LabelSet = COARSE
    box_format: BoxFormat = DEFAULT_FORMAT
    sigma: float = 0.5
    soft: bool = True

    def __post_init__(self) -> None:
        """Refuse what is no reward."""
        object.__setattr__(self, "labels", as_labels(self.labels))
        if self.name not in FORMULAS:
            raise InputError("No reward has this name", received=self.name, accepted=", ".join(FORMULAS))
        if not 0 < self.sigma <= 1:
            raise InputError("sigma is no IoU threshold", received=self.sigma, accepted="0 < sigma <= 1")

    @property
    def __name__(self) -> str:
        """The name under which TRL logs the reward."""
        return self.name

    def __call__(
        self,
        completions: Sequence[Any],
        post_text: Sequence[str],
        gold: Sequence[str],
        size: Sequence[Sequence[int] | None],
        resized: Sequence[Sequence[int] | None],
        call: Sequence[str] | None = None,
        **kwargs: Any,
    ) -> list[float | None]:
        """Score a batch; the arguments are TRL's completions and the columns of `reward_columns`.

        Args:
            completions: Texts, or lists of messages whose last one is the answer.
            post_text: The text of each row's post.
            gold: Each row's gold mentions as JSON.
            size: Width and height of each row's picture in pixels; None: no picture.
            resized: Width and height after the processor's resize, for the `resized` frame.
            call: Which call of a staged program each row is, see `gmner.optimizers.rewards.staged_calls`: what is
                judged then is the whole answer that the completion makes. None: each completion is a whole answer.
            **kwargs: The other columns and whatever else the trainer hands over; not looked at.

        Returns:
            One float in 0..1 a completion, 0 for an answer that is not valid; None: the reward does not apply.

        Raises:
            DataError: The gold does not fit its text.
            InputError: A completion of another form, or a frame that needs a size that is missing.
        """
        own = {"labels": self.labels, "box_format": self.box_format}
        judged = judgements(completions, post_text, gold, size, resized, call, **own)
        return [self.score(judgement) for judgement in judged]

    def score(self, judgement: Judgement | None) -> float | None:
        """The reward of one judged answer; None as the judgement means: not a valid answer."""
        if judgement is None:
            return 0.0
        if self.name == "grounding":
            return grounding_reward(judgement, self.sigma, self.soft)
        return FORMULAS[self.name](judgement)


def cvo(
    labels: LabelSet = COARSE, box_format: BoxFormat = DEFAULT_FORMAT, sigma: float = 0.5, soft: bool = True
) -> list[Reward]:
    """The five rewards of CVO, in the order of `DEFAULT_WEIGHTS`.

    Args:
        labels: The entity types of an answer.
        box_format: The frame in which the model writes boxes.
        sigma: The IoU from which on a box counts.
        soft: See `grounding_reward`.

    Example:
        >>> row = {"post_text": ["Ada Okoro in Lagos"], "size": [[640, 480]], "resized": [None]}
        >>> row["gold"] = ['[{"span": "Lagos", "start": 13, "end": 18, "type": "LOC", "boxes": []}]']
        >>> answer = '{"reasoning":"","entities":[{"span":"Lagos","type":"PER","visible":false,"box":null}]}'
        >>> {reward.__name__: reward(completions=[answer], **row)[0] for reward in cvo()}
        {'count': 1.0, 'span': 1.0, 'type': 0.0, 'grounding': None, 'entailment': 1.0}
    """
    return [Reward(name, labels, box_format, sigma, soft) for name in DEFAULT_WEIGHTS]


def grounding(sigma: float = 0.5, soft: bool = True) -> Reward:
    """The grounding reward with settings of your own, for `CVO(rewards=...)`.

    Args:
        sigma: The IoU from which on a box counts.
        soft: See `grounding_reward`.

    Example:
        >>> grounding(sigma=0.3).sigma
        0.3
    """
    return Reward("grounding", sigma=sigma, soft=soft)
