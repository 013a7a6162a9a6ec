"""A scripted model that knows the drawn shapes of a probe and writes boxes in one coordinate convention."""

import json
import random
from collections.abc import Callable
from typing import Any

import pytest
from dspy import lm15
from openai_server import Body, Reply, completion
from scripted import pictures_of, words_of

from gmner.programs.models.families import ResizeRule
from gmner.programs.models.probe import drawing
from gmner.programs.models.probe.conventions import Convention
from gmner.programs.models.probe.drawing import draw, sizes_for
from gmner.signatures.boxes import Box, BoxFormat, Size

QWEN = ResizeRule(28, 56 * 56, 28 * 28 * 16384)
SMALL = ResizeRule(28, 56 * 56, 28 * 28 * 1280)
CONVENTIONS = [
    Convention(form, QWEN if form.frame == "resized" else None)
    for order in ("xyxy", "yxyx")
    for form in (
        BoxFormat("normalized", 1000, order),
        BoxFormat("normalized", 100, order),
        BoxFormat("normalized", 1000, order, "floats"),
        BoxFormat("original", order=order),
        BoxFormat("resized", order=order),
    )
]
TITLES = [convention.title for convention in CONVENTIONS]

Written = list[float]


def use_small_images(monkeypatch: pytest.MonkeyPatch) -> None:
    """Draw images that are encoded quickly; the first six have the sizes of a real probe."""
    monkeypatch.setattr(drawing, "SIZES", (*drawing.SIZES[:6], (238, 182), (182, 266), (266, 154), (154, 294)))
    monkeypatch.setattr(drawing, "_LARGE", ((196, 154), (140, 210)))


class ShapeModel:
    """Answers the questions of a probe, whatever convention a prompt requires.

    Args:
        write: Size of the image and box in pixels -> four numbers; None: it boxes nothing.
        rule: The resize that determines the sizes of the drawn images.
        noise: Standard deviation of each coordinate, as a share of the image's side.
        obeys: Whether an answer follows a schema that the prompt does not mention.
    """

    def __init__(
        self,
        write: Callable[[Size, Box], Written | None],
        rule: ResizeRule | None = None,
        *,
        noise: float = 0.0,
        obeys: bool = True,
    ) -> None:
        drawings = draw(sizes_for(rule))
        self.places = {(q.size, q.mention.span): q.boxes[0] for drawing in drawings for q in drawing.shown}
        self.write, self.noise, self.obeys = write, noise, obeys

    def __call__(self, request: lm15.Request) -> str | dict[str, Any]:
        words = words_of(request)
        (picture,) = pictures_of(request)
        form = request.config.response_format
        if form is not None and "enum" in str(form):
            return {"answer": "unmistakable-7319"} if self.obeys else "Red."
        named = words.rpartition("Entity: ")[2] if form else words.partition("box of the ")[2].partition(" in this")[0]
        box = self.places.get((picture.size, named))
        numbers = None if box is None else self.write(picture.size, self.moved(box, picture.size, words))
        if form is not None:
            return {"box": numbers}
        return "It is not shown." if numbers is None else f'[{{"bbox_2d": {numbers}, "label": "{named}"}}]'

    def moved(self, box: Box, size: Size, words: str) -> Box:
        """The box with noise, the same for the same question, inside of the image."""
        rng = random.Random(f"{size}{words}")
        sides = (*size, *size)
        moved = [
            min(max(value + rng.gauss(0, self.noise) * side, 0), side)
            for value, side in zip(box.as_tuple(), sides, strict=True)
        ]
        xs, ys = sorted(moved[::2]), sorted(moved[1::2])
        return Box(xs[0], ys[0], xs[1], ys[1])


def speaking(convention: Convention) -> Callable[[Size, Box], Written]:
    """A function that writes a box in a convention."""
    return lambda size, box: list(convention.box_format.encode(box, size, convention.resized(size)))


def replying(model: ShapeModel, name: str = "m") -> Callable[[Body], Reply]:
    """The server's answers of a scripted model; with usage, and only text."""

    def answer(body: Body) -> Reply:
        *_, turn = body["messages"]
        parts = [
            lm15.TextPart(part["text"])
            if part["type"] == "text"
            else lm15.ImagePart(data=part["image_url"]["url"].partition(",")[2])
            for part in turn["content"]
        ]
        form = body.get("response_format")
        config = lm15.Config(response_format={"type": "json_schema", **form["json_schema"]} if form else None)
        said = model(lm15.Request(model=name, messages=(lm15.Message.user(parts),), config=config))
        return 200, {}, completion(said if isinstance(said, str) else json.dumps(said), name)

    return answer
