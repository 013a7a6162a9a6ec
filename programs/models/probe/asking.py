"""Asks a model the questions of a probe: in free text, and as programs ask, in a given coordinate convention."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import copy_context
from dataclasses import dataclass, field, replace
from functools import partial
from time import perf_counter
from typing import Any, TypeVar

import dspy
from dspy.utils.exceptions import AdapterParseError
from PIL import Image
from tqdm import tqdm

from gmner.programs.adapter import PromptAdapter, greedy
from gmner.programs.error_causes import error_line, own_error
from gmner.programs.local_engine import batching_engine, in_process_engine
from gmner.programs.models.families import ModelProfile
from gmner.programs.models.probe.conventions import Convention
from gmner.programs.models.probe.questions import Question
from gmner.programs.models.probe.reading import Numbers, read_free, read_location_tokens
from gmner.programs.prompt_images import PostPicture, inline, load_picture, named
from gmner.programs.seams.dspy_seams import truncation_is_expected
from gmner.programs.server_lm import logging_retries
from gmner.signatures.boxes import Box
from gmner.signatures.errors import AnswerError, ServerError
from gmner.signatures.labels import COARSE
from gmner.signatures.tasks import GroundMention

_T = TypeVar("_T")

_SYSTEM = "You look at an image and answer one question about it."
_FREE = (
    "Give the bounding box of {name} in this image as four numbers. If the image does not show it, answer: not shown."
)
_WORD = "unmistakable-7319"
_CODED = {
    "type": "object",
    "properties": {"answer": {"enum": [_WORD]}},
    "required": ["answer"],
    "additionalProperties": False,
}
_SERVED_THREADS = 16


class _LookAndAnswer(dspy.Signature):
    """Free text about an image."""

    question: str = dspy.InputField()
    image: dspy.Image = dspy.InputField()
    answer: str = dspy.OutputField()


class _FreeText(dspy.Adapter):
    """One question with an image, and the whole output of the model as the answer."""

    def __init__(self, *, by_name: bool) -> None:
        super().__init__()
        self.by_name = by_name
        self.kept: list[Image.Image] = []  # keeps the images alive that a local engine looks up by name

    def format(
        self, signature: type[dspy.Signature], demos: list[dict[str, Any]], inputs: dict[str, Any]
    ) -> list[dict[str, Any]]:
        """Write the messages in OpenAI's format."""
        picture = load_picture(inputs["image"])
        parts: list[dict[str, Any]] = [{"type": "text", "text": inputs["question"]}]
        if picture is not None:
            parts.insert(0, {"type": "image_url", "image_url": {"url": self._address(picture)}})
        return [{"role": "system", "content": _SYSTEM}, {"role": "user", "content": parts}]

    def _address(self, picture: Image.Image) -> str:
        if not self.by_name:
            return inline(picture)
        address, kept = named(picture)
        self.kept.append(kept)
        return address

    def parse(self, signature: type[dspy.Signature], completion: str) -> dict[str, Any]:
        """The output of the model as it is."""
        return {"answer": completion}


@dataclass
class Tally:
    """What the calls of a probe took.

    Attributes:
        calls: Number of calls.
        seconds: Time of all calls, which ran at the same time.
        tokens: Number of tokens that the model wrote, as the engine or the server counts them.
        malformed: Number of answers without the required form.
        errors: Errors of calls, one line each.
        location_tokens: What `read_location_tokens` finds in each answer in free text.
    """

    calls: int = 0
    seconds: float = 0.0
    tokens: int = 0
    malformed: int = 0
    errors: list[str] = field(default_factory=list)
    location_tokens: list[Numbers | None] = field(default_factory=list)


class Asker:
    """Asks one model. Calls run at the same time; DSPy's cache is not used.

    Args:
        lm: The model.
        profile: Wording and resize rule of its prompts.
        max_tokens: Token limit of an answer in free text.
        threads: Number of calls at a time; None: twice the engine's batch, or 16 on a server.
        bar: Progress bar, which advances by one with every call; None: none.
    """

    def __init__(
        self,
        lm: dspy.BaseLM,
        profile: ModelProfile,
        max_tokens: int,
        threads: int | None = None,
        bar: tqdm | None = None,
    ) -> None:
        self._lm = logging_retries(lm.copy(cache=False)) if isinstance(lm, dspy.LM) else lm
        self._profile, self._max_tokens, self._bar = profile, max_tokens, bar
        self._by_name = in_process_engine(lm) is not None
        engine = batching_engine(lm)
        self.threads = threads or (_SERVED_THREADS if engine is None else 2 * engine.max_batch)
        self.tally = Tally()
        self._lock = threading.Lock()

    def free(self, questions: Sequence[Question]) -> list[Numbers | None]:
        """Ask for boxes in free text, without naming a convention.

        Returns:
            The four numbers of each answer; None: it has no box.

        Raises:
            ServerError: Every call failed.
        """
        answers = self._all([partial(self._free_text, question) for question in questions])
        self.tally.location_tokens += [None if text is None else read_location_tokens(text) for text in answers]
        return [None if text is None else read_free(text) for text in answers]

    def framed(self, questions: Sequence[Question], convention: Convention) -> list[Box | Malformed | None]:
        """Ask for boxes as programs do, with the instructions of `GroundMention` and the schema of the answer.

        Args:
            questions: The questions.
            convention: The convention that the prompt and the schema require.

        Returns:
            Boxes in pixels of the image; None: "not shown"; `MALFORMED`: the answer had another form.

        Raises:
            ServerError: Every call failed.
        """
        profile = replace(self._profile, box_format=convention.box_format, rule=convention.rule or self._profile.rule)
        adapter = PromptAdapter(COARSE, profile)
        answers = self._all([partial(self._box, adapter, question) for question in questions])
        return [MALFORMED if answer is None else answer[0] for answer in answers]

    def enforces_schema(self, question: Question) -> bool | None:
        """Whether answers follow a schema that the prompt does not mention; None: the calls failed.

        The schema allows a single answer, which no model would give to the question.
        """
        body = {"name": "answer", "strict": True, "schema": _CODED}
        options = {"response_format": {"type": "json_schema", "json_schema": body}}
        words = f"What colour is {_the(question)}? Answer with one word."
        before = len(self.tally.errors)
        (text,) = self._all([lambda: self._text(words, question, **options)])
        if text is None and len(self.tally.errors) > before:
            return None
        return text is not None and _WORD in text

    def _free_text(self, question: Question) -> str:
        return self._text(_FREE.format(name=_the(question)), question)

    def _text(self, words: str, question: Question, **options: Any) -> str:
        limits = {} if self._lm.kwargs.get("max_tokens") is not None else {"max_tokens": self._max_tokens}
        settings = {**greedy(self._lm), **limits, **options}
        inputs = {"question": words, "image": PostPicture(question.picture)}
        (value,) = _FreeText(by_name=self._by_name)(self._lm, settings, _LookAndAnswer, [], inputs)
        return str(value["answer"])

    def _box(self, adapter: PromptAdapter, question: Question) -> tuple[Box | None]:
        (value,) = adapter(self._lm, {}, GroundMention, [], question.inputs())
        return (value["box"],)

    def _all(self, calls: Sequence[Callable[[], _T]]) -> list[_T | None]:
        """Run calls at the same time; None: the answer does not have the required form, or the call failed."""
        start = perf_counter()
        failed = len(self.tally.errors)
        with self._counting(), ThreadPoolExecutor(self.threads) as pool:
            futures = [pool.submit(copy_context().run, self._one, call) for call in calls]
            try:
                answers = [future.result() for future in futures]
            finally:
                pool.shutdown(wait=True, cancel_futures=True)
        self.tally.seconds += perf_counter() - start
        self.tally.calls += len(calls)
        new = self.tally.errors[failed:]
        if len(new) == len(calls) > 1:
            raise ServerError("The model failed on every question", received=new[0], remedy="Check the model or server")
        return answers

    def _one(self, call: Callable[[], _T]) -> _T | None:
        try:
            return call()
        except Exception as error:
            malformed = isinstance(error, AdapterParseError) or isinstance(own_error(error), AnswerError)
            with self._lock:
                if malformed:
                    self.tally.malformed += 1
                else:
                    self.tally.errors.append(error_line(error))
            return None
        finally:
            if self._bar is not None:
                self._bar.update()

    @contextmanager
    def _counting(self) -> Iterator[None]:
        """Add the tokens of the calls in this block to the tally; images are kept out of DSPy's history."""
        with truncation_is_expected(), dspy.context(disable_history=True), dspy.track_usage() as usage:
            yield
        totals = usage.get_total_tokens().values()
        self.tally.tokens += sum(int(total.get("completion_tokens") or 0) for total in totals)


class Malformed:
    """The type of `MALFORMED`."""


MALFORMED = Malformed()
"""An answer that does not have the required form."""


def _the(question: Question) -> str:
    return f"the {question.mention.span}" if question.drawn else f'"{question.mention.span}"'
