"""`LMEngine`: what the engines of this process share behind `dspy.LM(engine=...)`.

Only this file reads and writes the messages of `dspy.lm15`.
"""

from __future__ import annotations

import asyncio
import json
import threading
import uuid
import weakref
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar, Generic, Protocol, TypeVar

from dspy import lm15
from PIL import Image
from transformers import ProcessorMixin

from gmner.data.images.opening import open_image
from gmner.programs.engine.batching import Batcher
from gmner.programs.engine.constrained_sampler import Sampling
from gmner.programs.engine.encoding import Conversation
from gmner.programs.engine.generation import Completion, Prompt
from gmner.programs.models.families import ModelProfile, image_pixels
from gmner.programs.models.weights import ModelSource, as_json
from gmner.programs.prompt_images import picture_named
from gmner.signatures.errors import ImageError, InputError, ModelError, TruncatedAnswerError

_PARAMS = frozenset({"temperature", "max_tokens", "top_p", "top_k", "seed", "response_format", "logprobs"})
THINKING_TOKENS = 2048
"""Default limit of thinking in tokens."""

_live: weakref.WeakValueDictionary[str, LMEngine[Any]] = weakref.WeakValueDictionary()
_live_lock = threading.Lock()
# A saved program refers to its engine several times (one sync and one async engine for each predictor). Looking it up
# here keeps the weights in memory once.


class Loaded(Protocol):
    """A checkpoint that an engine runs: `Weights`, or a `Checkpoint` whose weights another library holds."""

    @property
    def config(self) -> Any:
        """The configuration of the model."""

    @property
    def processor(self) -> ProcessorMixin:
        """The processor of the model."""

    @property
    def profile(self) -> ModelProfile:
        """Its coordinate convention, prompt wording and resize rule."""

    @property
    def path(self) -> Path:
        """The folder of the base checkpoint."""

    @property
    def adapter_path(self) -> Path | None:
        """The folder of the adapter, or None."""

    @property
    def fingerprint(self) -> str:
        """Hash of the base model and the adapter, see `gmner.programs.models.fingerprint`."""

    @property
    def source(self) -> ModelSource:
        """The arguments it was loaded with."""


_L = TypeVar("_L", bound=Loaded)
_E = TypeVar("_E", bound="LMEngine[Any]")


class LMEngine(Generic[_L]):
    """Base class of the engines that run a model in this process.

    An engine is shared, not copied: `copy.deepcopy` returns the same engine, and pickling saves only what to load.

    Args:
        weights: The loaded model.
        batcher: Runs its requests.
        settings: The arguments of the constructor besides `weights`, as JSON data.

    Attributes:
        weights: The loaded model.
        max_batch: Largest number of requests that run at the same time.
        thinking_tokens: Tokens of thinking after which it is closed.
    """

    supports_response_schema = True
    supports_function_calling = False
    supports_reasoning = False
    supported_params = _PARAMS

    def __init__(self, weights: _L, batcher: Batcher[lm15.Request, lm15.Response], settings: dict[str, Any]) -> None:
        self.weights, self._settings, self._batcher = weights, settings, batcher
        self.max_batch: int = settings["max_batch"]
        self.thinking_tokens: int = settings["thinking_tokens"]
        weakref.finalize(self, batcher.end).atexit = False

    @property
    def profile(self) -> ModelProfile:
        """The model's coordinate convention, prompt wording and resize rule."""
        return self.weights.profile

    @property
    def image_pixels(self) -> int | None:
        """Largest number of pixels after the processor's resize; None: not known."""
        return image_pixels(self.weights.config.model_type, self.processor.image_processor)

    @property
    def processor(self) -> ProcessorMixin:
        """The model's processor."""
        return self.weights.processor

    @property
    def path(self) -> Path:
        """The folder of the base checkpoint."""
        return self.weights.path

    @property
    def adapter_path(self) -> Path | None:
        """The folder of the adapter, or None."""
        return self.weights.adapter_path

    @property
    def fingerprint(self) -> str:
        """Hash of the base model and the adapter, see `gmner.programs.models.fingerprint`."""
        return self.weights.fingerprint

    def complete(self, request: lm15.Request) -> lm15.Response:
        """Answer one request.

        Raises:
            TruncatedAnswerError: An answer with a schema did not end within `max_tokens`.
            ImageError: An image cannot be read, or is not inline.
            InputError: A schema or a part of a message is not supported.
        """
        (future,) = self._batcher.submit(request)
        try:
            return future.result()
        finally:
            future.cancel()  # after an interrupt, so that the answer does not keep its row in the batch

    def submit(self, request: lm15.Request) -> asyncio.Future[lm15.Response]:
        """`complete` for a running event loop. Cancelling the future removes the row at the next token."""
        return asyncio.wrap_future(*self._batcher.submit(request))

    def complete_many(self, requests: Sequence[lm15.Request]) -> list[lm15.Response | Exception]:
        """Answer many requests. Returns one response or exception a request, in order."""
        futures = self._batcher.submit(*requests)
        try:
            return [future.exception() or future.result() for future in futures]
        finally:
            for future in futures:
                future.cancel()

    def stream(self, request: lm15.Request) -> Iterator[Any]:
        """Yield the answer as events; the first one comes after the whole answer is generated."""
        yield from lm15.response_to_events(self.complete(request))

    def close(self) -> None:
        """Finish all submitted requests and end the worker; later calls raise `ModelError`."""
        with _live_lock:
            for key in [key for key, engine in _live.items() if engine is self]:
                del _live[key]
        self._batcher.close()

    def dump_state(self) -> dict[str, Any]:
        """Return the model source, the settings and the expected fingerprint as JSON data.

        In this process, `load_state` returns this engine for it.
        """
        state = {**as_json(self.weights.source), **self._settings, "fingerprint": self.fingerprint}
        with _live_lock:
            _live.setdefault(json.dumps(state, sort_keys=True), self)
        return state

    @classmethod
    def load_state(cls: type[_E], state: dict[str, Any]) -> _E:
        """Load the engine of a saved program, or return the existing engine with this state.

        Raises:
            ModelError: The weights do not exist, or differ from those of the saved program.
        """
        key = json.dumps(state, sort_keys=True)
        with _live_lock:
            engine = _live.get(key)
            if not isinstance(engine, cls):
                engine = _live[key] = cls.from_state(dict(state))
            return engine

    @classmethod
    def from_state(cls: type[_E], state: dict[str, Any]) -> _E:
        """Load the model of a state and create an engine with its settings; see `load_state`."""
        raise NotImplementedError

    def __reduce__(self) -> tuple[Any, ...]:
        return _restored, (type(self), self.dump_state())

    def __deepcopy__(self: _E, memo: dict[int, Any]) -> _E:
        return self


def check_limits(max_batch: Any, thinking_tokens: Any) -> None:
    """Check two settings of an engine.

    Raises:
        ModelError: `max_batch` is below 1, or `thinking_tokens` is negative.
    """
    if max_batch < 1:
        raise ModelError("max_batch must be at least 1", received=max_batch, accepted="1 or more")
    if type(thinking_tokens) is not int or thinking_tokens < 0:
        raise ModelError("thinking_tokens must not be negative", received=thinking_tokens, accepted="0 or more")


def source_in(state: dict[str, Any]) -> ModelSource:
    """Remove the model source from the state of an engine, and return it; earlier versions had fewer of its fields."""
    return ModelSource(**{name: state.pop(name) for name in ModelSource.__slots__ if name in state})


def check_fingerprint(found: str, expected: str) -> None:
    """Compare the fingerprint of a loaded model with that of a saved program.

    Raises:
        ModelError: They differ.
    """
    if found != expected:
        raise ModelError(
            "The weights differ from those of the saved program",
            received=found,
            accepted=expected,
            remedy="If this is intended, set the program's lm to load_vlm(...)",
        )


def _restored(kind: type[_E], state: dict[str, Any]) -> _E:
    """Load a pickled engine.

    Not a class method: cloudpickle (used by DSPy and Ray) copies those by value, and the copy would have its own
    registry of engines.
    """
    return kind.load_state(state)


class AsyncLMEngine:
    """Async interface to an engine, for `dspy.LM(async_engine=...)`. Shares its batches.

    Subclasses name the class of their engine in `kind`.
    """

    kind: ClassVar[type[LMEngine[Any]]]

    supports_response_schema = True
    supports_function_calling = False
    supports_reasoning = False
    supported_params = _PARAMS

    def __init__(self, engine: LMEngine[Any]) -> None:
        self.engine = engine

    @property
    def profile(self) -> ModelProfile:
        """The profile of the model."""
        return self.engine.profile

    async def complete(self, request: lm15.Request) -> lm15.Response:
        """Answer one request; see `LMEngine.complete`."""
        return await self.engine.submit(request)

    async def stream(self, request: lm15.Request) -> AsyncIterator[Any]:
        """Yield the answer as events; the first one comes after the whole answer is generated."""
        for event in lm15.response_to_events(await self.complete(request)):
            yield event

    async def aclose(self) -> None:
        """Do nothing: the engine is closed by its owner."""

    def dump_state(self) -> dict[str, Any]:
        """The engine's state."""
        return self.engine.dump_state()

    @classmethod
    def load_state(cls, state: dict[str, Any]) -> AsyncLMEngine:
        """Load the async interface to the engine with this state; see `LMEngine.load_state`."""
        return cls(cls.kind.load_state(state))

    def __deepcopy__(self, memo: dict[int, Any]) -> AsyncLMEngine:
        return self


def read_request(request: lm15.Request) -> Prompt:
    """Convert a request of DSPy to a prompt.

    Raises:
        ImageError: An image cannot be read, is too large or is not inline.
        InputError: A part of a message or a response format is not supported.
    """
    config = request.config
    if request.tools or config.stop:
        raise lm15.UnsupportedFeatureError("The local engine does not support tools and stop sequences")
    turns: Conversation = []
    if request.system:
        system = request.system
        parts = [{"type": "text", "text": system}] if isinstance(system, str) else [_part(part) for part in system]
        turns.append({"role": "system", "content": parts})
    turns += [
        {"role": message.role, "content": [_part(part) for part in message.parts]} for message in request.messages
    ]
    sampling = Sampling(config.temperature or 0.0, config.top_p or 1.0, config.top_k or 0, config.seed)
    return Prompt(turns, _schema(config.response_format), config.max_tokens, sampling, config.logprobs is not None)


def _part(part: Any) -> dict[str, Any]:
    if isinstance(part, lm15.TextPart):
        return {"type": "text", "text": part.text}
    if isinstance(part, lm15.DataPart):
        return {"type": "text", "text": json.dumps(part.value, ensure_ascii=False)}
    if isinstance(part, lm15.ImagePart):
        return {"type": "image", "image": _image(part)}
    raise InputError("A part of a message is not supported", received=part.type, accepted="text and images")


def _image(part: lm15.ImagePart) -> Image.Image:
    if part.data is None:
        raise ImageError(
            "An image of a request must be inline", received=part.url or part.path, remedy="Pass dspy.Image(PIL image)"
        )
    if (known := picture_named(part.media_type, part.data)) is not None:
        return known
    return open_image(part.bytes)


def _schema(response_format: Any) -> dict[str, Any] | None:
    """The JSON schema of a response format, in either spelling; None: free text."""
    kind = None if response_format is None else response_format.get("type")
    if kind in (None, "text"):
        return None
    if kind == "json_object":
        return {"type": "object"}
    nested = response_format.get("json_schema", response_format)
    schema = nested.get("schema") if isinstance(nested, dict) else None
    if kind != "json_schema" or not isinstance(schema, dict):
        raise InputError("A response format is not supported", received=response_format, accepted="json_schema")
    return schema


def reply_of(request: lm15.Request, prompt: Prompt, completion: Completion) -> lm15.Response | Exception:
    """The response to a request, or the error of an answer with a schema that was cut off."""
    if completion.truncated and prompt.schema is not None:
        cut = completion.tokens < prompt.limit
        remedy = "The model's context is full; shorten the text" if cut else "raise max_tokens"
        return TruncatedAnswerError(
            f"The answer did not end within {completion.tokens} tokens", received=completion.text, remedy=remedy
        )
    thoughts = completion.thinking_tokens
    parts = [*([lm15.ThinkingPart(completion.thinking)] if completion.thinking else []), lm15.TextPart(completion.text)]
    return lm15.Response(
        id=uuid.uuid4().hex,
        model=request.model,
        message=lm15.Message.assistant(parts),
        finish_reason="length" if completion.truncated else "stop",
        usage=lm15.Usage(
            input_tokens=completion.prompt_tokens,
            output_tokens=completion.tokens + thoughts,
            reasoning_tokens=thoughts or None,
        ),
        logprobs=None if completion.logprobs is None else tuple(lm15.TokenLogprob(*t) for t in completion.logprobs),
    )
