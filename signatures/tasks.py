"""The DSPy signatures: all of GMNER in one answer, its three parts, and the two related tasks of the MCR paper.

Source: MCR (Ma et al., Findings of ACL 2026) defines the task and the four constraints C_s, C_t, C_e, C_u; the wording
is ours.
"""

from __future__ import annotations

from typing import Any

import dspy

from gmner.signatures.boxes import Box
from gmner.signatures.mentions import GroundedEntity, Mention


class GroundEntities(dspy.Signature):
    """Find every named entity in the post, give its type, say whether the picture shows that very entity, and box it.

    First reason: which words are names, what type each has, what the picture shows, and whether it is the named one or
    only something of its kind. Then answer in JSON. Copy each span verbatim from the post, in the order of the text.
    If the picture does not show the entity, `visible` is false and `box` is null. If the post names nothing, the list
    is empty.
    """

    text: str = dspy.InputField(desc="the text of the post")
    image: dspy.Image | None = dspy.InputField(desc="the picture of the post")
    more_images: list[dspy.Image] | None = dspy.InputField(desc="further pictures of the post, in order")
    reasoning: str = dspy.OutputField(desc="the chain of reasoning, before the entities")
    entities: list[GroundedEntity] = dspy.OutputField(desc="every named entity with type and box, or box null")


class ExtractMentions(dspy.Signature):
    """Find every named entity in the text of the post and give its type.

    The picture may help to decide what a name means, but only words of the text are entities. Copy each span verbatim,
    in the order of the text. If the post names nothing, the list is empty.
    """

    text: str = dspy.InputField(desc="the text of the post")
    image: dspy.Image | None = dspy.InputField(desc="the picture of the post")
    more_images: list[dspy.Image] | None = dspy.InputField(desc="further pictures of the post, in order")
    mentions: list[Mention] = dspy.OutputField(desc="every named entity with its type")


class VerifyVisibility(dspy.Signature):
    """Decide whether the picture shows the very entity that the post names, not only something of its kind.

    First write as evidence what the picture shows, then whether the named entity is among it.
    """

    text: str = dspy.InputField(desc="the text of the post")
    image: dspy.Image | None = dspy.InputField(desc="the picture of the post")
    more_images: list[dspy.Image] | None = dspy.InputField(desc="further pictures of the post, in order")
    mention: Mention = dspy.InputField(desc="the entity to look for")
    evidence: str = dspy.OutputField(desc="what the picture shows")
    visible: bool = dspy.OutputField(desc="whether the picture shows the entity")


class GroundMention(dspy.Signature):
    """Box the named entity in the picture. If the picture does not show it, the box is null."""

    text: str = dspy.InputField(desc="the text of the post")
    image: dspy.Image | None = dspy.InputField(desc="the picture of the post")
    more_images: list[dspy.Image] | None = dspy.InputField(desc="further pictures of the post, in order")
    mention: Mention = dspy.InputField(desc="the entity to box")
    box: Box | None = dspy.OutputField(desc="the entity's box, or null")


class NameEntities(dspy.Signature):
    """Find every named entity in the text of the post and give its type.

    First reason: which words are names, and what type each has; the pictures may help to decide what a name means.
    Then answer in JSON. Only words of the text are entities. Copy each span verbatim, in the order of the text. If the
    post names nothing, the list is empty.
    """

    text: str = dspy.InputField(desc="the text of the post")
    image: dspy.Image | None = dspy.InputField(desc="the picture of the post")
    more_images: list[dspy.Image] | None = dspy.InputField(desc="further pictures of the post, in order")
    reasoning: str = dspy.OutputField(desc="the chain of reasoning, before the mentions")
    mentions: list[Mention] = dspy.OutputField(desc="every named entity with its type")


class GroundExpression(dspy.Signature):
    """Box everything in the picture that the expression refers to.

    First reason: what the expression refers to, what the picture shows, and whether that is meant or only something of
    its kind. Then answer in JSON. Each thing gets a box of its own, from left to right. If the picture does not show
    what the expression refers to, the list is empty.
    """

    text: str = dspy.InputField(desc="the expression")
    image: dspy.Image | None = dspy.InputField(desc="the picture")
    more_images: list[dspy.Image] | None = dspy.InputField(desc="further pictures, in order")
    reasoning: str = dspy.OutputField(desc="the chain of reasoning, before the boxes")
    boxes: list[Box] = dspy.OutputField(desc="a box for each thing that the expression refers to")


SHORT_INSTRUCTIONS: dict[str, str] = {
    "GroundEntities": "Find entities, box what is shown.",
    "ExtractMentions": "Find entities.",
    "VerifyVisibility": "Is it shown?",
    "GroundMention": "Where is it?",
    "NameEntities": "Think, then find entities.",
    "GroundExpression": "Think, then box what is meant.",
}
"""The terse instructions for a small model. The embedded model was trained with the first four."""


TASKS: tuple[type[dspy.Signature], ...] = (
    GroundEntities, ExtractMentions, VerifyVisibility, GroundMention, NameEntities, GroundExpression,
)  # fmt: skip
"""All signatures, the end-to-end signature first."""


def wording(instructions: str, *, terse: bool) -> str:
    """Replace the instructions of a task by the wording with which a model was trained.

    Args:
        instructions: The instructions of a signature. Custom instructions are never replaced.
        terse: Whether the model was trained with the short wording.
    """
    short = {task.instructions: SHORT_INSTRUCTIONS[task.__name__] for task in TASKS}
    return short.get(instructions, instructions) if terse else instructions


SEVERAL = (
    "Some posts have several pictures, numbered from 1: an entity is shown if one of them shows it, and `picture` is "
    "the number of the picture that the box is in, or null."
)
"""The line of the system message about posts with several images, for tasks with boxes."""


def system_message(
    instructions: str, output_names: Any, label_line: str, box_line: str, *, terse: bool, several: bool = False
) -> str:
    """Build the system message of a task: its instructions, and the types and coordinate convention if it needs them.

    Args:
        instructions: The instructions of the signature.
        output_names: Names of the output fields of the signature.
        label_line: Description of the label set, see `LabelSet.describe`, or only its names if terse.
        box_line: Description of the coordinate convention, see `BoxFormat.describe`.
        terse: Whether to write a single line without the coordinate convention.
        several: Whether a post of the dialogue has several images; the message then says how a box names its image.
    """
    asks_types = not {"entities", "mentions"}.isdisjoint(output_names)
    asks_boxes = not {"entities", "box", "boxes"}.isdisjoint(output_names)
    if terse:
        return f"{instructions} {label_line}" if asks_types else instructions
    lines = [instructions]
    if asks_types:
        lines.append(f"Types: {label_line}.")
    if asks_boxes:
        lines.append(f"Boxes: {box_line}.")
    if asks_boxes and several:
        lines.append(f"Pictures: {SEVERAL}")
    return "\n".join(lines)


def picture_caption(number: int) -> str:
    """The text before an image in the user message of a post with several."""
    return f"Picture {number}: "


def user_message(text: str, mention: str | None = None, *, expression: bool = False) -> str:
    """Build the text of the user message: the post, and the entity in question; or an expression."""
    text = f"Expression: {text}" if expression else f"Post: {text}"
    return text if mention is None else f"{text}\nEntity: {mention}"
