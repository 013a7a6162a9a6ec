"""`gmner_metric`: GMNER F1 of one post as a metric for DSPy, with textual feedback for GEPA."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from gmner.data.listing import counted
from gmner.data.post import Post
from gmner.data.scoring.entity_errors import EntityError, Fault, find_errors
from gmner.data.scoring.expressions import EXPRESSION_RULE, boxes_of, expression_f1
from gmner.data.scoring.pairing import Scores
from gmner.data.scoring.protocols import PAPER, Protocol
from gmner.signatures.boxes import Box
from gmner.signatures.mentions import GoldEntity, GroundedEntity, Task

if TYPE_CHECKING:
    import dspy


def to_example(post: Post) -> dspy.Example:
    """Convert a post to a DSPy example with inputs `text` and `image`, gold `entities`, and the `post` itself.

    The example of a post with several images has the input `images` in place of `image`.
    """
    import dspy

    images = {"images": list(post.images)} if len(post.images) > 1 else {"image": post.image}
    return dspy.Example(text=post.text, **images, entities=post.gold, post=post).with_inputs("text", *images)


def gmner_metric(
    example: dspy.Example, prediction: Any, trace: Any = None, pred_name: str | None = None, pred_trace: Any = None
) -> float | dspy.Prediction:
    """GMNER F1 of one post, for `dspy.Evaluate`, MIPROv2, GEPA and every other optimizer that takes a metric.

    Args:
        example: An example with `text` and gold `entities`, see `to_example`.
        prediction: A prediction with `entities`.
        trace: Passed by optimizers that collect demonstrations; ignored.
        pred_name: Passed by GEPA: name of the predictor to improve.
        pred_trace: Passed by GEPA.

    Returns:
        The F1, 0..1; 1.0 if there are neither gold nor predicted entities. If the regions of the post are not
        annotated, MNER F1; for a referring expression, `expression_f1` of its boxes. If `pred_name` or `pred_trace` is
        given, as by GEPA, a `dspy.Prediction` with `score` and `feedback`.
    """
    gold, predicted = tuple(example.entities), tuple(prediction.entities or ())
    post: Post | None = example.get("post")
    task: Task = "gmner" if post is None else post.task
    score = post_f1(gold, predicted, task=task)
    if pred_name is None and pred_trace is None:
        return score
    import dspy

    return dspy.Prediction(score=score, feedback=feedback(gold, predicted, task=task))


def post_f1(
    gold: Sequence[GoldEntity], predicted: Sequence[GroundedEntity], protocol: Protocol = PAPER, task: Task = "gmner"
) -> float:
    """F1 of one post in its task, 0..1; 1.0 if there are neither gold nor predicted entities.

    For `grec`, `expression_f1` of the boxes; the protocol is not used.
    """
    if task == "grec":
        return expression_f1(boxes_of(predicted), boxes_of(gold))
    return Scores.of(protocol(gold, predicted)[task]).f1 / 100


def feedback(gold: Sequence[GoldEntity], predicted: Sequence[GroundedEntity], *, task: Task = "gmner") -> str:
    """Describe the errors of an answer in words, one line per error, with boxes in whole pixels of the original image.

    Args:
        gold: The gold mentions.
        predicted: The predictions.
        task: The task of the post. For `mner`, errors of regions are left out; for `grec`, all others are.
    """
    if task == "grec":
        return _expression_feedback(boxes_of(predicted), boxes_of(gold))
    errors = [(e, [f for f in e.faults if task != "mner" or not f.about_regions]) for e in find_errors(gold, predicted)]
    sentences = _NAME_SENTENCES if task == "mner" else _SENTENCES
    lines = [sentences[fault](error) for error, faults in errors for fault in faults]
    right = sum(not faults for _, faults in errors)
    return "\n".join([f"{right} of {len(gold)} entities are fully right.", *lines])


def _expression_feedback(predicted: Sequence[Box], targets: Sequence[Box]) -> str:
    """The errors of the boxes for an expression, one line per error."""
    lines = [f"{counted(len(predicted), 'box', 'boxes')} for {counted(len(targets), 'target', 'targets')}."]
    for target in targets:
        if not any(EXPRESSION_RULE.right(box, [target]) for box in predicted):
            lines.append(f"Missed: the expression also means what is at {_corners(target)}.")
    for box in predicted:
        if not any(EXPRESSION_RULE.right(box, [target]) for target in targets):
            lines.append(f"Invented: the expression does not mean what is at {_corners(box)}.")
    return "\n".join(lines)


def _missed(error: EntityError) -> str:
    return f"{_missed_name(error)[:-1]}, {_region(_gold(error).boxes)}."


def _missed_name(error: EntityError) -> str:
    gold = _gold(error)
    return f"Missed: {gold.span!r} is a named entity of type {gold.type}."


def _invented(error: EntityError) -> str:
    return f"Invented: {_predicted(error).span!r} is no entity here, or was answered already."


def _wrong_span(error: EntityError) -> str:
    return f"{_wrong_name(error)[:-1]}, {_region(_gold(error).boxes)}."


def _wrong_name(error: EntityError) -> str:
    gold, predicted = _gold(error), _predicted(error)
    return f"Wrong span: {predicted.span!r} should be {gold.span!r} ({gold.type})."


def _wrong_type(error: EntityError) -> str:
    gold, predicted = _gold(error), _predicted(error)
    return f"Wrong type: {gold.span!r} is {gold.type}, not {predicted.type}."


def _boxed_absent(error: EntityError) -> str:
    return f"Boxed though not shown: the picture does not show {_gold(error).span!r}; its box must be null."


def _wrong_region(error: EntityError) -> str:
    gold, predicted = _gold(error), _predicted(error)
    answered = "null" if predicted.box is None else _corners(predicted.box)
    return f"Wrong box: {gold.span!r} is {_region(gold.boxes)}; the answer was {answered}."


_SENTENCES = {
    Fault.MISSED: _missed,
    Fault.INVENTED: _invented,
    Fault.WRONG_SPAN: _wrong_span,
    Fault.WRONG_TYPE: _wrong_type,
    Fault.WRONG_BOX: _wrong_region,
    Fault.BOXED_ABSENT: _boxed_absent,
    Fault.UNBOXED_SHOWN: _wrong_region,
}

# Of posts whose regions are not annotated: an entity without a box may be shown.
_NAME_SENTENCES = {**_SENTENCES, Fault.MISSED: _missed_name, Fault.WRONG_SPAN: _wrong_name}


def _gold(error: EntityError) -> GoldEntity:
    if error.gold is None:
        raise ValueError("The error has no gold mention")
    return error.gold


def _predicted(error: EntityError) -> GroundedEntity:
    if error.predicted is None:
        raise ValueError("The error has no prediction")
    return error.predicted


def _region(boxes: Iterable[Box]) -> str:
    corners = " or ".join(map(_corners, boxes))
    return f"shown at {corners}" if corners else "not shown"


def _corners(box: Box) -> str:
    corners = str([round(value) for value in box.as_tuple()])
    return corners if box.picture == 1 else f"{corners} of picture {box.picture}"
