"""`gmner answer`: the entities of one post."""

from __future__ import annotations

import json
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from gmner.cli import models
from gmner.cli.command import Command
from gmner.cli.printing import print_message, print_result
from gmner.signatures.errors import ImageError, InputError

if TYPE_CHECKING:
    from gmner.data.prediction import Prediction
    from gmner.signatures.mentions import GroundedEntity


def add_arguments(parser: ArgumentParser) -> None:
    """Add the arguments of `gmner answer`."""
    parser.add_argument("text", metavar="TEXT", help="text of the post")
    image = "image of the post (default: none; repeatable: several images of one post, in order)"
    parser.add_argument("--image", type=Path, action="append", default=[], metavar="FILE", help=image)
    models.add_program(parser)
    models.add_task(parser)
    as_json = (
        "print JSON: text, reasoning, thinking if any, and entities, boxes as x1, y1, x2, y2 in pixels of the image"
    )
    parser.add_argument("--json", action="store_true", help=as_json)


def run(given: Namespace) -> int:
    """Print the answer; 1 if the model failed."""
    if not given.text.strip():
        raise InputError("The text of the post is empty", received=given.text)
    for image in given.image:
        if not image.is_file():
            fact = "The image is not a file" if image.exists() else "The image does not exist"
            raise ImageError(fact, received=str(image))
    from gmner.data.post import Post

    program = models.program_of(given)
    with models.failures("Check the model or the server, and run the command again"):
        first, *more = given.image or [None]
        post = Post("post", given.text, first, more_images=tuple(more))
        (prediction,) = program.batch_posts([post], progress=False)
    if prediction.error:
        print_message(f"gmner: {prediction.error['message']}")
        return 1
    several = len(given.image) > 1 if program.grounds else None
    print_result(_as_json(prediction) if given.json else _as_text(prediction, several=several))
    return 0


def _as_json(prediction: Prediction) -> str:
    record = prediction.to_record()
    chosen = {key: record[key] for key in ("text", "thinking", "reasoning", "entities") if key in record}
    return json.dumps(chosen, ensure_ascii=False, indent=1)


def _as_text(prediction: Prediction, *, several: bool | None) -> str:
    """Thinking and reasoning, if there are any, and a line for each entity.

    `several` says whether the post has several images; None if no boxes were asked for.
    """
    entities = prediction.entities
    span, type_ = (max((len(getattr(e, name)) for e in entities), default=0) for name in ("span", "type"))
    lines = [f"{e.span:{span}}  {e.type:{type_}}  {_place(e, several=several)}".rstrip() for e in entities]
    words = {"Thinking": prediction.thinking, "Reasoning": prediction.reasoning}
    said = [f"{name}: {text}" for name, text in words.items() if text]
    return "\n".join([*said, *(lines or ["No entities"])])


def _place(entity: GroundedEntity, *, several: bool | None) -> str:
    """Where the images show an entity, and the model's confidence if it was asked for."""
    shown = "; ".join(
        ", ".join(f"{value:.0f}" for value in box.as_tuple()) + (f" of image {box.picture}" if several else "")
        for box in entity.boxes
    )
    place = "" if several is None else f"box {shown}" if shown else "not shown"
    return place if entity.confidence is None else f"{place} ({entity.confidence:.0%})"


COMMAND = Command(
    "answer",
    "find the entities of one post and print them",
    'gmner answer "Mira Voss cries at the speech" --image post.png --model Qwen/Qwen2.5-VL-7B-Instruct',
    add_arguments,
    run,
)
