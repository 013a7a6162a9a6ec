"""The five verifiable rewards of CVO, one per constraint, as reward functions for TRL's `GRPOTrainer`.

A reward reads four columns of JSON values (`reward_columns`), so any trainer that passes its columns to its reward
functions can use the rewards without the rest of this library:

    args = GRPOConfig(reward_weights=list(DEFAULT_WEIGHTS.values()))
    trainer = GRPOTrainer(model, reward_funcs=cvo(), args=args, train_dataset=dataset)

Completions are parsed strictly and never repaired. An invalid answer (JSON of another form, an unknown type, a span
that is not in the text, a box outside the coordinate range or with reversed corners) gets 0 from every reward. Other
errors, such as gold annotations that do not match the text, are raised and stop the training.

Source: the five constraints and R = l1 R_c + l2 R_s + l3 R_t + l4 R_u + l5 R_e are from the paper (MCR, arXiv
2602.04486, CVO). It does not publish the formulas, the weights, sigma or the matching; those are ours.
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
    MORE_SIZES,
    TASK,
    Finding,
    Judgement,
    completion_text,
    judge,
    reward_columns,
)
from gmner.optimizers.rewards.own import JudgedReward, judged, register, unregister
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
    "unregister",
    "whole_answers",
]

DEFAULT_WEIGHTS: Mapping[str, float] = MappingProxyType(
    {"count": 0.2, "span": 1.0, "type": 0.5, "grounding": 1.0, "entailment": 2.0}
)
"""The weights l1 to l5, in the order of `cvo`; our choice, as the paper does not publish its weights.

The weight of `count` is small so that an answer with only correct spans does not gain from an invented one that makes
the count correct: R_s loses more than R_c gains if l1 / l2 <= 2 n / ((n + 1) (n + 2)) for n gold mentions, which 0.2
satisfies up to n = 6. The weight of `entailment` is doubled because this scored higher on dev posts of the world.
"""


@dataclass(frozen=True, slots=True)
class Reward:
    """One reward of CVO as a reward function for TRL's `GRPOTrainer`; created by `cvo`.

    Args:
        name: `count`, `span`, `type`, `grounding` or `entailment`; TRL logs it as `rewards/<name>/mean`.
        labels: The entity types of an answer; `CVO` replaces the default with those of the program.
        box_format: The coordinate convention of boxes; `CVO` replaces the default with that of the program.
        sigma: Smallest IoU with which a box counts, in 0..1; only used by `grounding`.
        soft: See `grounding_reward`.

    Raises:
        InputError: The name is unknown, or sigma is not in 0..1.
    """

    name: str
    labels: LabelSet = COARSE
    box_format: BoxFormat = DEFAULT_FORMAT
    sigma: float = 0.5
    soft: bool = True

    def __post_init__(self) -> None:
        """Check the arguments."""
        object.__setattr__(self, "labels", as_labels(self.labels))
        if self.name not in FORMULAS:
            raise InputError("Unknown reward", received=self.name, accepted=", ".join(FORMULAS))
        if not 0 < self.sigma <= 1:
            raise InputError("sigma must be above 0 and at most 1", received=self.sigma, accepted="an IoU threshold")

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
            size: Width and height of each row's image in pixels; None: no image.
            resized: Width and height after the processor's resize, for the `resized` convention.
            call: The call of a staged program that each row belongs to, see `gmner.optimizers.rewards.staged_calls`;
                the program's whole answer with the completion is then scored. None: each completion is a whole answer.
            **kwargs: `more_sizes` and `task`, see `reward_columns`; other columns and arguments are ignored.

        Returns:
            One float in 0..1 per completion, 0 for an invalid answer; None if the reward does not apply.

        Raises:
            DataError: The gold annotations do not match the text.
            InputError: A completion has another format, or a size that the coordinate convention needs is missing.
        """
        own: dict[str, Any] = {"labels": self.labels, "box_format": self.box_format}
        own |= {name: kwargs.get(name) for name in (MORE_SIZES, TASK)}
        judged = judgements(completions, post_text, gold, size, resized, call, **own)
        return [self.score(judgement) for judgement in judged]

    def score(self, judgement: Judgement | None) -> float | None:
        """The reward of one judged answer; a judgement of None stands for an invalid answer."""
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
        box_format: The coordinate convention of boxes.
        sigma: Smallest IoU with which a box counts.
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
    """The grounding reward with other settings, for `CVO(rewards=...)`.

    Args:
        sigma: Smallest IoU with which a box counts.
        soft: See `grounding_reward`.

    Example:
        >>> grounding(sigma=0.3).sigma
        0.3
    """
    return Reward("grounding", sigma=sigma, soft=soft)
