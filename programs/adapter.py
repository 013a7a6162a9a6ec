"""The prompt adapter: turns instructions, demonstrations and a post into chat messages, and parses the JSON answer.

The same functions write inference requests and training rows, so that training sees byte for byte what inference sends.
Demonstrations are chat turns with their images; there are no field markers.
"""

from __future__ import annotations

import codecs
import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import dspy
from dspy.utils.exceptions import AdapterParseError
from PIL import Image

from gmner.programs.engine.confidence import Token, answer_tokens, confidences
from gmner.programs.local_engine import in_process_engine, profiled_engine
from gmner.programs.models.families import ModelProfile, split_thinking
from gmner.programs.prompt_images import inline, named, opened_picture, original_size, picture_sources
from gmner.programs.records import forget_pictures
from gmner.programs.server_lm import Cut, logging_retries, noting_cuts
from gmner.programs.thoughts import noting_thoughts
from gmner.signatures.errors import AnswerError, InputError, TruncatedAnswerError
from gmner.signatures.forms import Request, as_entity, form_of
from gmner.signatures.labels import LabelSet, as_labels
from gmner.signatures.schema import Limits, served_schema
from gmner.signatures.tasks import picture_caption, system_message, user_message, wording
from gmner.signatures.wire import Frame, Sizes

Message = dict[str, Any]

_ENFORCE = (
    "Use a server that supports response_format with a JSON schema, such as vLLM; if its answers end in endless "
    'blanks, start it with --structured-outputs-config \'{"backend": "guidance"}\'; if the answer was cut off, raise '
    "the LM's max_tokens"
)


_OPTIONAL = {"reasoning", "evidence"}
"""Outputs that a demonstration may lack."""


class PromptAdapter(dspy.Adapter):
    """A `dspy.Adapter` for the signatures in `gmner.signatures.tasks`.

    Args:
        labels: The entity types.
        profile: Coordinate convention, resize rule and wording of the model.
        limits: Limits of an answer's reasoning and of its list of entities.
        confidence: Request log probabilities and add `confidences` to the outputs; see
            `gmner.programs.engine.confidence`.
        draw: Sampling settings that override those of the LM, such as `temperature` and `seed`.

    Attributes:
        thoughts: What the model thought before each of its answers, if it thinks; calls append to the list.
    """

    def __init__(
        self,
        labels: LabelSet,
        profile: ModelProfile,
        limits: Limits = Limits(),  # noqa: B008 - frozen
        *,
        confidence: bool = False,
        draw: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.labels, self.profile, self.limits, self.confidence = as_labels(labels), profile, limits, confidence
        self.draw = dict(draw or {})
        self.thoughts: list[str] = []
        self._request: Request | None = None
        self._cuts: list[Cut] = []
        self._local: bool | None = None  # whether the model runs in this process; None outside of a call
        self._named: list[Image.Image] | None = None  # keeps the images alive that a local engine looks up by name
        self._sent: list[Message] = []
        self._read_texts: list[str] = []  # the answers of a call

    def request(self, inputs: Mapping[str, Any]) -> Request:
        """Build the request that determines the schema and the coordinates of an answer.

        Args:
            inputs: `text`, `image` (dspy.Image, PIL image, path or None), `more_images` (a list of further images, if
                there are any) and, for verification and grounding, `mention`.

        Raises:
            InputError: The text is not a string, or there are more images than the model takes.
            ImageError: An image cannot be read.
        """
        if not isinstance(inputs["text"], str):
            raise InputError("The text of a post must be a string", received=inputs["text"], accepted="a string")
        mention = inputs.get("mention")
        span = None if mention is None else as_entity(mention).span
        return Request(inputs["text"], self.labels, self._frame(inputs), span, self.limits)

    def _frame(self, inputs: Mapping[str, Any]) -> Frame:
        """The coordinate convention for the images in some inputs."""
        sources = picture_sources(inputs)
        self.profile.check_pictures(len(sources))
        if not sources:
            return Frame(self.profile.box_format)
        (size, resized), *more = [self._sizes(source) for source in sources]
        return Frame(self.profile.box_format, size, resized, tuple(more))

    def _sizes(self, source: Any) -> Sizes:
        """Width and height of an image, and after the processor's resize of the image in the prompt."""
        image = opened_picture(source)
        return original_size(source, image) or image.size, self.profile.resized(image.size)

    def __call__(self, lm: dspy.BaseLM, *args: Any, **kwargs: Any) -> list[dict[str, Any]]:
        """Call the LM with the schema of this request and parse its answer; arguments as for `dspy.Adapter`."""
        bound, call = self._bind(lm, *args, **kwargs)
        with bound._reading():
            values = dspy.Adapter.__call__(bound, logging_retries(lm), **call)
        return bound._with_confidences(values)

    async def acall(self, lm: dspy.BaseLM, *args: Any, **kwargs: Any) -> list[dict[str, Any]]:
        """`__call__` for asyncio."""
        bound, call = self._bind(lm, *args, **kwargs)
        with bound._reading():
            values = await dspy.Adapter.acall(bound, logging_retries(lm), **call)
        return bound._with_confidences(values)

    def _bind(
        self,
        lm: dspy.BaseLM,
        lm_kwargs: dict[str, Any],
        signature: type[dspy.Signature],
        demos: list[dict[str, Any]],
        inputs: dict[str, Any],
    ) -> tuple[PromptAdapter, dict[str, Any]]:
        """Return a copy that holds the request, and the arguments of the call with the request's schema.

        The copy is needed because `parse` does not receive the inputs, and many threads share one adapter.
        """
        bound = copy.copy(self)
        bound._request, bound._local = self.request(inputs), profiled_engine(lm) is not None
        bound._named = None if in_process_engine(lm) is None else []
        bound._sent, bound._read_texts = [], []
        schema = form_of(list(signature.output_fields)).schema(bound._request)
        if not bound._local:
            schema = served_schema(schema)
        body = {"name": "answer", "strict": True, "schema": schema}
        lm_kwargs = {
            **greedy(lm),
            **lm_kwargs,
            **self.draw,
            "response_format": {"type": "json_schema", "json_schema": body},
        }
        if self.confidence:
            lm_kwargs["logprobs"] = True
        return bound, {"lm_kwargs": lm_kwargs, "signature": signature, "demos": demos, "inputs": inputs}

    @contextmanager
    def _reading(self) -> Iterator[None]:
        """Note which answers of a call were cut, convert DSPy's error for an empty one, and let its images go."""
        thoughts: list[str] = []
        try:
            with noting_cuts() as self._cuts, noting_thoughts() as thoughts:
                yield
        except AdapterParseError as error:  # `parse` raises none: DSPy does, for an answer without text
            if self._cuts and thoughts:
                raise _cut_answer(self._cuts[-1], thoughts[-1], "thinking") from error
            fact = "The model returned no text: it refused, called a tool, or its content was filtered"
            raise AnswerError(fact, received=error.lm_response) from error
        finally:
            self.thoughts += thoughts
            forget_pictures(self._sent)

    def _with_confidences(self, values: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Values of the answers; if confidences are wanted, they replace DSPy's log probabilities."""
        if self.confidence:
            for value, text in zip(values, self._read_texts, strict=True):
                value["confidences"] = _confidences(text, value.pop("logprobs", None))
        return values

    def format(
        self, signature: type[dspy.Signature], demos: list[dict[str, Any]], inputs: dict[str, Any]
    ) -> list[Message]:
        """Write chat messages in OpenAI's format, with images inline as data URIs."""
        messages = [_as_openai(message, self._address) for message in self.dialogue(signature, demos, inputs)]
        self._sent = messages if self._request is not None else []
        return messages

    def _address(self, picture: Image.Image) -> str:
        """The URL of an image in a message."""
        if self._named is None:
            return inline(picture, raw=bool(self._local))
        address, kept = named(picture)
        self._named.append(kept)
        return address

    def dialogue(
        self, signature: type[dspy.Signature], demos: Sequence[Mapping[str, Any]], inputs: Mapping[str, Any]
    ) -> list[Message]:
        """Write chat messages with image parts `{"type": "image", "image": PIL image}`; the last one is the user's.

        Args:
            signature: One of `gmner.signatures.tasks.TASKS`, possibly with rewritten instructions.
            demos: Demonstrations: inputs and outputs, boxes in pixels of their own image. Those that lack an output of
                this signature are skipped.
            inputs: See `request`.
        """
        # Optimizers give every predictor the demonstrations of the whole program; DSPy's adapters skip these as well.
        needed = ({*signature.output_fields} | {*signature.input_fields} & {"mention"}) - _OPTIONAL
        shown = [demo for demo in demos if needed <= {*demo.keys()}]
        several = any(len(picture_sources(example)) > 1 for example in (*shown, inputs))
        messages: list[Message] = [_message("system", self._system(signature, several=several))]
        for demo in shown:
            messages.append(self._user(signature, demo))
            messages.append(_message("assistant", self.answer(signature, demo)))
        return [*messages, self._user(signature, inputs)]

    def answer(self, signature: type[dspy.Signature], example: Mapping[str, Any]) -> str:
        """Write the expected answer of an example as text.

        Args:
            signature: The task.
            example: Inputs and outputs; boxes in pixels of the original image.
        """
        return form_of(list(signature.output_fields)).render(example, self.request(example))

    def parse(self, signature: type[dspy.Signature], completion: str) -> dict[str, Any]:
        """Parse an answer during a call into values with boxes in pixels of the original image.

        Raises:
            AnswerError: The answer does not follow the schema; a server may not have enforced it.
            InputError: Called outside of a call, where the post of the answer is unknown.
        """
        if self._request is None:
            raise InputError("An answer cannot be parsed without its post", remedy="Call `read` with the inputs")
        if self._local is False:
            completion = self._without_thinking(completion)
        self._read_texts.append(completion)
        try:
            return form_of(list(signature.output_fields)).parse(completion, self._request, True)
        except AnswerError as error:
            if self._local is not False:
                raise
            if self._cuts:
                part = "answer" if completion or not self.thoughts else "thinking"
                raise _cut_answer(self._cuts[-1], completion or self.thoughts[-1], part) from error
            raise AnswerError(
                f"The server did not enforce the schema of the answer: {error.fact}",
                received=error.received, accepted=error.accepted, remedy=_ENFORCE,
            ) from error  # fmt: skip

    def _without_thinking(self, completion: str) -> str:
        """The answer in a text of a server; thoughts before it, where the server has no reasoning parser, are kept."""
        thinking, answer = split_thinking(completion)
        if thinking:
            self.thoughts.append(thinking)
        return answer.strip() if answer is not completion else completion

    def read(self, signature: type[dspy.Signature], inputs: Mapping[str, Any], completion: str) -> dict[str, Any]:
        """Parse an answer to `inputs`; see `parse`."""
        return form_of(list(signature.output_fields)).parse(completion, self.request(inputs), True)

    def _system(self, signature: type[dspy.Signature], *, several: bool) -> str:
        terse = self.profile.terse
        labels = " ".join(self.labels) if terse else self.labels.describe()
        return system_message(
            wording(signature.instructions, terse=terse),
            list(signature.output_fields),
            labels,
            self.profile.box_format.describe(),
            terse=terse,
            several=several,
        )

    def _user(self, signature: type[dspy.Signature], inputs: Mapping[str, Any]) -> Message:
        mention = inputs.get("mention")
        span = None if mention is None else as_entity(mention).span
        text = user_message(inputs["text"], span, expression="boxes" in signature.output_fields)
        return _message("user", text, [opened_picture(source) for source in picture_sources(inputs)])


def _cut_answer(cut: Cut, text: str, part: str = "answer") -> TruncatedAnswerError:
    size = f"{len(text)} characters" if cut.tokens is None else f"{cut.tokens} tokens"
    fact = f"The server cut the {part} off after {size} (finish_reason: length)"
    remedy = "Raise the LM's max_tokens, or the server's context length"
    if part == "thinking":
        remedy += '; or switch thinking off: extra_body={"chat_template_kwargs": {"enable_thinking": False}}'
    return TruncatedAnswerError(fact, received=text, remedy=remedy)


def _confidences(text: str, logprobs: Mapping[str, Any] | None) -> list[float | None]:
    """The confidence of each entity, from the log probabilities that DSPy returns with an answer."""
    tokens = _tokens((logprobs or {}).get("content") or ())
    if not tokens:
        raise AnswerError(
            "The answer has no log probabilities, which confidence=True needs",
            received=logprobs,
            remedy="Set confidence=False, or use a model that returns log probabilities",
        )
    return confidences(text, answer_tokens(text, tokens))


def _tokens(records: Sequence[Mapping[str, Any]]) -> list[Token]:
    """Text and log probability of tokens in OpenAI's format; the last of several tokens has their character."""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    texts = [decoder.decode(bytes(token["bytes"])) if token.get("bytes") else token["token"] for token in records]
    return [(text, float(token["logprob"])) for text, token in zip(texts, records, strict=True)]


def greedy(lm: dspy.BaseLM) -> dict[str, Any]:
    """Temperature 0 unless the LM sets one, because servers sample by default and local models do not.

    OpenAI's reasoning models accept no temperature; DSPy sets `max_completion_tokens` for them.
    """
    temperature_set = lm.kwargs.get("temperature") is not None or "max_completion_tokens" in lm.kwargs
    return {} if temperature_set else {"temperature": 0.0}


def _message(role: str, text: str, pictures: Sequence[Image.Image] = ()) -> Message:
    """A message with images before its text; several are numbered, because an answer names the image of a box."""
    parts: list[dict[str, Any]] = []
    for number, picture in enumerate(pictures, 1):
        if len(pictures) > 1:
            parts.append({"type": "text", "text": picture_caption(number)})
        parts.append({"type": "image", "image": picture})
    return {"role": role, "content": [*parts, {"type": "text", "text": text}]}


def _as_openai(message: Message, address: Callable[[Image.Image], str]) -> Message:
    parts = []
    for part in message["content"]:
        if part["type"] == "image":
            parts.append({"type": "image_url", "image_url": {"url": address(part["image"])}})
        else:
            parts.append(part)
    only_text = len(parts) == 1 and parts[0]["type"] == "text"
    return {"role": message["role"], "content": parts[0]["text"] if only_text else parts}
