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

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType
from typing import Any

from gmner.data.post import Post
from gmner.signatures.boxes import Box, BoxFormat, Size
from gmner.signatures.errors import AnswerError, DataError, InputError
from gmner.signatures.labels import COARSE, LabelSet
from gmner.signatures.mentions import GoldEntity, GroundedEntity
from gmner.signatures.wire import Frame, parse_answer

DEFAULT_WEIGHTS: Mapping[str, float] = MappingProxyType(
    {"count": 0.2, "span": 1.0, "type": 0.5, "grounding": 1.0, "entailment": 1.0}
)
"""The weights l1 to l5, in the order of `cvo`; our choice, the paper does not publish its own.

`count` is small for a reason: an answer whose names are all right must not gain by a made-up one that fills up the
count. R_s loses more than R_c gains while l1 / l2 <= 2 n / ((n + 1) (n + 2)), n gold mentions: with 0.2, up to six.
"""

_DEFAULT_FORMAT = BoxFormat()


@dataclass(frozen=True, slots=True)
class Finding:
    """What an answer says about one gold mention.

    Attributes:
        shown: Whether the gold says that the picture shows it.
        found: Whether the answer names it: the same span at the same occurrence.
        type_right: Whether it was found and has the gold type.
        said_shown: Whether it was found and was given a box.
        iou: Best IoU of the given box with any gold box; 0 without a box on either side.
    """

    shown: bool
    found: bool = False
    type_right: bool = False
    said_shown: bool = False
    iou: float = 0.0


@dataclass(frozen=True, slots=True)
class Judgement:
    """A valid answer held against the gold: all that the five rewards look at.

    Attributes:
        n_pred: Number of predicted entities.
        findings: One a gold mention, in gold order.
    """

    n_pred: int
    findings: tuple[Finding, ...]

    @property
    def most(self) -> int:
        """The larger of the numbers of predicted and gold mentions."""
        return max(self.n_pred, len(self.findings))


def count_reward(judgement: Judgement) -> float:
    """R_c = 1 - |n_pred - n_gold| / max(n_pred, n_gold), in 0..1; 1 when both are 0. Formula: ours.

    >>> count_reward(Judgement(n_pred=1, findings=(Finding(shown=False), Finding(shown=True))))
    0.5
    """
    most = judgement.most
    return 1.0 - abs(judgement.n_pred - len(judgement.findings)) / most if most else 1.0


def span_reward(judgement: Judgement) -> float:
    """R_s = F1 of the paired spans, in 0..1; 1 when both lists are empty. Formula: ours.

    >>> span_reward(Judgement(n_pred=1, findings=(Finding(shown=False, found=True),)))
    1.0
    """
    total = judgement.n_pred + len(judgement.findings)
    return 2.0 * sum(f.found for f in judgement.findings) / total if total else 1.0


def type_reward(judgement: Judgement) -> float:
    """R_t = paired spans with the right type / max(n_pred, n_gold), in 0..1; 1 when both are empty. Formula: ours.

    >>> type_reward(Judgement(n_pred=2, findings=(Finding(shown=False, found=True, type_right=True),)))
    0.5
    """
    most = judgement.most
    return sum(f.type_right for f in judgement.findings) / most if most else 1.0


def grounding_reward(judgement: Judgement, sigma: float = 0.5, soft: bool = True) -> float | None:
    """R_u = mean over the shown gold mentions of the best IoU where it reaches sigma, else 0; in 0..1.

    The threshold sigma is the paper's, the rest of the formula ours.

    Args:
        judgement: A valid answer held against the gold.
        sigma: The IoU from which on a box counts; exactly sigma counts.
        soft: Pay the IoU itself; False: pay 1.

    Returns:
        None (does not apply) when the picture shows none of the gold mentions.

    >>> found = Finding(shown=True, found=True, said_shown=True, iou=0.75)
    >>> grounding_reward(Judgement(1, (found,))), grounding_reward(Judgement(1, (found,)), sigma=0.8)
    (0.75, 0.0)
    """
    shown = [f.iou for f in judgement.findings if f.shown]
    if not shown:
        return None
    return sum((iou if soft else 1.0) for iou in shown if iou >= sigma) / len(shown)


def entailment_reward(judgement: Judgement) -> float | None:
    """R_e = balanced accuracy of shown / not shown over the gold mentions, in 0..1. Formula: ours.

    The mean over the classes present in the gold; a gold mention that was not found counts as wrong. Balanced, because
    about 60 % of mentions are not shown, and a plain accuracy is won by never giving a box.

    Returns:
        None (does not apply) when there is no gold mention.

    >>> absent, shown = Finding(shown=False, found=True), Finding(shown=True, found=True)
    >>> entailment_reward(Judgement(3, (absent, absent, shown)))
    0.5
    """
    rates = []
    for shown in (True, False):
        right = [f.found and f.said_shown == shown for f in judgement.findings if f.shown == shown]
        if right:
            rates.append(sum(right) / len(right))
    return sum(rates) / len(rates) if rates else None


_FORMULAS: dict[str, Callable[[Judgement], float | None]] = {
    "count": count_reward,
    "span": span_reward,
    "type": type_reward,
    "grounding": grounding_reward,
    "entailment": entailment_reward,
}


@dataclass(frozen=True, slots=True)
class Reward:
    """One reward of CVO, as a reward function of TRL's `GRPOTrainer`; made by `cvo`.

    Args:
        name: `count`, `span`, `type`, `grounding` or `entailment`; TRL logs it as `rewards/<name>/mean`.
        labels: The entity types of an answer.
        box_format: The frame in which the model writes boxes.
        sigma: IoU from which on a box counts, in 0..1; only `grounding` looks at it.
        soft: See `grounding_reward`.

    Raises:
        InputError: Another name, or a sigma outside 0..1.
    """

    name: str
    labels: LabelSet = COARSE
    box_format: BoxFormat = _DEFAULT_FORMAT
    sigma: float = 0.5
    soft: bool = True

    def __post_init__(self) -> None:
        """Refuse what is no reward."""
        if self.name not in _FORMULAS:
            raise InputError("No reward has this name", received=self.name, accepted=", ".join(_FORMULAS))
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
        **kwargs: Any,
    ) -> list[float | None]:
        """Score a batch; the arguments are TRL's completions and the columns of `reward_columns`.

        Args:
            completions: Texts, or lists of messages whose last one is the answer.
            post_text: The text of each row's post.
            gold: Each row's gold mentions as JSON.
            size: Width and height of each row's picture in pixels; None: no picture.
            resized: Width and height after the processor's resize, for the `resized` frame.
            **kwargs: The other columns and whatever else the trainer hands over; not looked at.

        Returns:
            One float in 0..1 a completion, 0 for an answer that is not valid; None: the reward does not apply.

        Raises:
            DataError: The gold does not fit its text.
            InputError: A completion of another form, or a frame that needs a size that is missing.
        """
        rows = zip(completions, post_text, gold, size, resized, strict=True)
        return [
            self.score(judge(completion_text(c), text, g, _size(s), _size(r), self.labels, self.box_format))
            for c, text, g, s, r in rows
        ]

    def score(self, judgement: Judgement | None) -> float | None:
        """The reward of one judged answer; None as the judgement means: not a valid answer."""
        if judgement is None:
            return 0.0
        if self.name == "grounding":
            return grounding_reward(judgement, self.sigma, self.soft)
        return _FORMULAS[self.name](judgement)


def cvo(
    labels: LabelSet = COARSE, box_format: BoxFormat = _DEFAULT_FORMAT, sigma: float = 0.5, soft: bool = True
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


def reward_columns(post: Post, frame: Frame) -> dict[str, Any]:
    """The columns of one row that the rewards read: `post_text`, `gold`, `size` and `resized`, plain JSON values.

    Args:
        post: An annotated post.
        frame: The frame of its picture.

    Raises:
        InputError: The post is not annotated, or the frame lacks a size that its box format needs.
    """
    if post.entities is None:
        raise InputError("A post that is not annotated cannot be rewarded", received=post.id)
    _check_frame(frame)
    gold = [
        {"span": e.span, "start": e.start, "end": e.end, "type": e.type, "boxes": [b.as_tuple() for b in e.boxes]}
        for e in post.entities
    ]
    return {
        "post_text": post.text,
        "gold": json.dumps(gold, ensure_ascii=False),
        "size": None if frame.size is None else list(frame.size),
        "resized": None if frame.resized is None else list(frame.resized),
    }


def completion_text(completion: Any) -> str:
    """The text of a completion: a string, or the content (string or parts) of the last message of a list.

    Raises:
        InputError: Neither of the two.
    """
    if isinstance(completion, str):
        return completion
    try:
        content = completion[-1]["content"]
        return content if isinstance(content, str) else "".join(p["text"] for p in content if p["type"] == "text")
    except (LookupError, TypeError) as error:
        accepted = "a string, or messages with role and content"
        raise InputError("A completion is of an unknown form", received=completion, accepted=accepted) from error


@lru_cache(maxsize=8192)  # the five rewards of a batch parse each completion once
def judge(
    completion: str,
    post_text: str,
    gold: str,
    size: Size | None,
    resized: Size | None,
    labels: LabelSet = COARSE,
    box_format: BoxFormat = _DEFAULT_FORMAT,
) -> Judgement | None:
    """Parse a completion strictly and hold it against the gold.

    Mentions are paired one to one on (span, occurrence); where an answer names one several times, the box with the
    highest IoU is paired, any box before none, then the first. A mention hedged with and without a box is thus a claim
    that it is shown.

    Returns:
        None when the completion is not a valid answer.

    Raises:
        DataError: The gold does not fit its text.
        InputError: The frame lacks a size that its box format needs.
    """
    frame = Frame(box_format, size, resized)
    _check_frame(frame)
    entities = _gold_entities(gold, post_text)
    try:
        predicted = parse_answer(completion, post_text, labels, frame).entities
    except AnswerError:
        return None
    named: dict[tuple[int, int], list[GroundedEntity]] = {}
    for entity in predicted:
        named.setdefault((entity.start, entity.end), []).append(entity)
    return Judgement(len(predicted), tuple(_find(e, named.get((e.start, e.end))) for e in entities))


def _find(gold: GoldEntity, named: list[GroundedEntity] | None) -> Finding:
    """The finding of one gold mention, from the predictions that stand where it stands."""
    if not named:
        return Finding(bool(gold.boxes))
    best = named[0] if len(named) == 1 else max(named, key=lambda e: -1.0 if e.box is None else _best_iou(gold, e.box))
    overlap = 0.0 if best.box is None else _best_iou(gold, best.box)
    return Finding(bool(gold.boxes), True, best.type == gold.type, best.box is not None, overlap)


def _best_iou(gold: GoldEntity, box: Box) -> float:
    return max((box.iou(other) for other in gold.boxes), default=0.0)


def _check_frame(frame: Frame) -> None:
    """A missing size is an error of the set-up: inside the parser it would look like a bad box and earn a 0."""
    if frame.size is not None:
        frame.box_format.extent(frame.size, frame.resized)


def _size(value: Sequence[int] | None) -> Size | None:
    return None if value is None else (value[0], value[1])


@lru_cache(maxsize=1024)
def _gold_entities(gold: str, post_text: str) -> tuple[GoldEntity, ...]:
    """The gold mentions of a row; refuses gold that does not stand in the text or names one place twice."""
    entities = tuple(
        GoldEntity(r["span"], r["start"], r["end"], r["type"], tuple(Box(*box) for box in r["boxes"]))
        for r in json.loads(gold)
    )
    for entity in entities:
        if not entity.span or post_text[entity.start : entity.end] != entity.span:
            raise DataError("A gold mention does not stand where it says in the text", received=entity)
    if len({entity.key for entity in entities}) != len(entities):
        raise DataError("Two gold mentions stand at one place of the text", received=gold)
    return entities
