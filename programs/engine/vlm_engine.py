"""`VLMEngine`: a local vision-language model behind `dspy.LM(engine=...)`. The only file that touches `dspy.lm15`."""

from __future__ import annotations

import asyncio
import json
import threading
import uuid
import weakref
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import fields, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from dspy import lm15
from PIL import Image
from transformers import PreTrainedModel, ProcessorMixin

from gmner.data.images.opening import open_image
from gmner.programs.engine.batching import Batcher
from gmner.programs.engine.constrained_sampler import Sampling
from gmner.programs.engine.encoding import Conversation
from gmner.programs.engine.generation import Completion, Generator, Prompt
from gmner.programs.engine.scheduler import RequestScheduler
from gmner.programs.models.families import ModelProfile, image_pixels
from gmner.programs.models.weights import ModelSource, Weights, as_json, load_weights
from gmner.programs.prompt_images import picture_named
from gmner.signatures.errors import ImageError, InputError, ModelError, TruncatedAnswerError

_PARAMS = frozenset({"temperature", "max_tokens", "top_p", "top_k", "seed", "response_format", "logprobs"})
THINKING_TOKENS = 2048
"""Default limit of thinking in tokens."""

_live: weakref.WeakValueDictionary[str, VLMEngine] = weakref.WeakValueDictionary()
_live_lock = threading.Lock()
# A saved program refers to its engine several times (one sync and one async engine for each predictor). Looking it up
# here keeps the weights in memory once.


class VLMEngine:
    """Runs DSPy's requests on a local model. Concurrent calls share a batch, each with its own schema.

    Uses continuous batching: a call is admitted as soon as the batch has a free row, and returns when its own answer
    has ended.

    An engine is shared, not copied: `copy.deepcopy` returns the same engine, and pickling saves only what to load.

    Args:
        weights: The loaded model.
        max_batch: Largest number of active requests. A batch that runs out of memory is split, and later batches stay
            smaller.
        backend: The back end of Outlines.
        window: Seconds to wait for more calls after the first one, when no call is active.
        thinking_tokens: Tokens of thinking after which it is closed and the answer follows, if the weights were loaded
            with `thinking`.

    Attributes:
        weights: The loaded model.
        max_batch: Largest number of active requests, as passed.
        thinking_tokens: As passed.

    Raises:
        ModelError: `max_batch` is below 1, `thinking_tokens` is negative, the model has no chat template, or the back
            end is not available.
    """

    supports_response_schema = True
    supports_function_calling = False
    supports_reasoning = False
    supported_params = _PARAMS

    def __init__(
        self,
        weights: Weights,
        *,
        max_batch: int = 16,
        backend: str = "llguidance",
        window: float = 0.008,
        thinking_tokens: int = THINKING_TOKENS,
    ) -> None:
        if max_batch < 1:
            raise ModelError("max_batch must be at least 1", received=max_batch, accepted="1 or more")
        if type(thinking_tokens) is not int or thinking_tokens < 0:
            raise ModelError("thinking_tokens must not be negative", received=thinking_tokens, accepted="0 or more")
        self.weights, self.max_batch, self.thinking_tokens = weights, max_batch, thinking_tokens
        self._settings: dict[str, Any] = {
            "max_batch": max_batch, "backend": backend, "window": window, "thinking_tokens": thinking_tokens
        }  # fmt: skip
        self._generator = Generator(weights, backend, thinking_tokens=thinking_tokens)
        scheduler = RequestScheduler(self._generator, max_batch, read_request, _reply)
        self._batcher: Batcher[lm15.Request, lm15.Response] = Batcher(
            scheduler, window, partial(_forked, weights.model)
        )
        weakref.finalize(self, self._batcher.end).atexit = False

    def serving(self, model: PreTrainedModel) -> VLMEngine:
        """Create an engine with the same settings for another model of this architecture. The caller closes it."""
        return VLMEngine(replace(self.weights, model=model), **self._settings)

    @property
    def profile(self) -> ModelProfile:
        """The model's coordinate convention, prompt wording and resize rule."""
        return self.weights.profile

    @property
    def image_pixels(self) -> int | None:
        """Largest number of pixels after the processor's resize; None: not known."""
        return image_pixels(self.model.config.model_type, self.processor.image_processor)

    @property
    def model(self) -> PreTrainedModel:
        """The model. Must not be trained while the engine uses it: cached image features would be outdated."""
        return self.weights.model

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
    def load_state(cls, state: dict[str, Any]) -> VLMEngine:
        """Load the engine of a saved program, or return the existing engine with this state.

        Raises:
            ModelError: The weights do not exist, or differ from those of the saved program.
        """
        key = json.dumps(state, sort_keys=True)
        with _live_lock:
            engine = _live.get(key)
            if engine is None:
                engine = _live[key] = cls._loaded(dict(state))
            return engine

    @classmethod
    def _loaded(cls, state: dict[str, Any]) -> VLMEngine:
        expected = state.pop("fingerprint")
        recorded = [field.name for field in fields(ModelSource) if field.name in state]  # earlier versions had fewer
        source = ModelSource(**{name: state.pop(name) for name in recorded})
        weights = load_weights(source)
        if weights.fingerprint != expected:
            raise ModelError(
                "The weights differ from those of the saved program",
                received=weights.fingerprint,
                accepted=expected,
                remedy="If this is intended, set the program's lm to load_vlm(...)",
            )
        return cls(weights, **state)

    def __reduce__(self) -> tuple[Any, ...]:
        return _restored, (self.dump_state(),)

    def __deepcopy__(self, memo: dict[int, Any]) -> VLMEngine:
        return self


def _forked(model: PreTrainedModel) -> bool:
    """Prepare torch in a forked process, and return whether the model can be used there.

    CUDA cannot be used in a forked process.
    """
    if model.device.type != "cpu":
        return False
    torch.set_num_threads(1)  # OpenMP would wait for ever for the parent's threads, which a fork does not copy
    return True


def _restored(state: dict[str, Any]) -> VLMEngine:
    """Load a pickled engine.

    Not a class method: cloudpickle (used by DSPy and Ray) copies those by value, and the copy would have its own
    registry of engines.
    """
    return VLMEngine.load_state(state)


class AsyncVLMEngine:
    """Async interface to a `VLMEngine`, for `dspy.LM(async_engine=...)`. Shares its batches."""

    supports_response_schema = True
    supports_function_calling = False
    supports_reasoning = False
    supported_params = _PARAMS

    def __init__(self, engine: VLMEngine) -> None:
        self.engine = engine

    @property
    def profile(self) -> ModelProfile:
        """The profile of the model."""
        return self.engine.profile

    async def complete(self, request: lm15.Request) -> lm15.Response:
        """Answer one request; see `VLMEngine.complete`."""
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
    def load_state(cls, state: dict[str, Any]) -> AsyncVLMEngine:
        """Load the async interface to the engine with this state; see `VLMEngine.load_state`."""
        return cls(VLMEngine.load_state(state))

    def __deepcopy__(self, memo: dict[int, Any]) -> AsyncVLMEngine:
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


def _reply(request: lm15.Request, prompt: Prompt, completion: Completion) -> lm15.Response | Exception:
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
