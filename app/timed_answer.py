"""`timed_answer`: the answer of one program to one post, how long it took and how many tokens it needed."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dspy

from gmner.data.listing import counted
from gmner.data.post import Post
from gmner.data.prediction import Prediction
from gmner.programs.choice import LoadedModels, ProgramChoice, choose
from gmner.programs.corpus import answer_post
from gmner.programs.error_causes import error_line, own_error
from gmner.signatures.errors import GmnerError, ImageError, InputError, ServerError

MOST_IMAGES = 16
"""Largest number of images of a post on the page; a model may take fewer."""


@dataclass(frozen=True, slots=True)
class TimedAnswer:
    """An answer and its cost.

    Attributes:
        prediction: The answer, or the error in its place.
        seconds: Time of the call, without loading the model.
        prompt_tokens: Tokens of all prompts; None if the model does not report them or the answer was cached.
        answer_tokens: Tokens of all answers; None as above.
    """

    prediction: Prediction
    seconds: float
    prompt_tokens: int | None = None
    answer_tokens: int | None = None

    def cost(self) -> str:
        """Seconds and tokens in words."""
        seconds = f"{self.seconds:.1f} seconds"
        if self.prompt_tokens is None or self.answer_tokens is None:
            return f"{seconds}, tokens unknown (the model reports none, or the answer was cached)"
        prompt, answer = (counted(count, "token", "tokens") for count in (self.prompt_tokens, self.answer_tokens))
        return f"{seconds}, {prompt} in the prompt, {answer} in the answer"


def uploaded_post(text: str, images: Sequence[Path | str] = ()) -> Post:
    """The post of a text and uploaded images; the same text and images have the same id.

    Raises:
        InputError: The text is empty, or there are more than `MOST_IMAGES` images.
        ImageError: An image does not exist.
    """
    if not text.strip():
        raise InputError("The text of the post is empty", accepted="a text with words", remedy="Write a text")
    if len(images) > MOST_IMAGES:
        fact = "A post on this page has too many images"
        raise InputError(fact, received=len(images), accepted=f"at most {MOST_IMAGES}", remedy="Remove some images")
    paths = [Path(image) for image in images]
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass"))
    for path in paths:
        if not path.is_file():
            raise ImageError("The image does not exist", received=path.name, remedy="Add the image again")
        digest.update(path.read_bytes())
    first = paths[0] if paths else None
    return Post(f"post-{digest.hexdigest()[:12]}", text, first, more_images=tuple(paths[1:]))


def timed_answer(choice: ProgramChoice, post: Post, loaded: LoadedModels) -> TimedAnswer:
    """Answer a post; whatever fails is an error of the prediction, in the words of the library.

    Args:
        choice: The program.
        post: The post.
        loaded: Keeps the models of earlier calls.
    """
    started = time.perf_counter()
    try:
        program = choose(choice, loaded=loaded, option=_field)
        started = time.perf_counter()
        with dspy.context(disable_history=True), dspy.track_usage() as usage:
            prediction = answer_post(program, post)
    except Exception as error:
        return TimedAnswer(Prediction.failed(post.id, post.text, _as_own(error)), time.perf_counter() - started)
    seconds = time.perf_counter() - started
    counts = list(usage.get_total_tokens().values())
    return TimedAnswer(prediction, seconds, _total(counts, "prompt_tokens"), _total(counts, "completion_tokens"))


def _total(counts: Sequence[dict[str, Any]], name: str) -> int | None:
    values = [count.get(name) for count in counts]
    known = [value for value in values if isinstance(value, int)]
    return sum(known) if known and len(known) == len(values) else None


def _as_own(error: Exception) -> GmnerError:
    own = own_error(error)
    if own is not None:
        return own
    remedy = "Check the model or the server, and try again"
    return ServerError("The model failed on this post", received=error_line(error), remedy=remedy)


_FIELDS = {
    "model": "Model",
    "server": "Server",
    "served": "Name of the model on its server",
    "profile": "the profile",
    "staged": "Staged",
}


def _field(attribute: str) -> str:
    """What the page calls an attribute of a choice."""
    return _FIELDS[attribute]
