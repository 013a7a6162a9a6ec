"""`VLMEngine`: a local vision-language model, run by transformers."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import torch
from dspy import lm15
from transformers import PreTrainedModel

from gmner.programs.engine.batching import Batcher
from gmner.programs.engine.generation import Generator
from gmner.programs.engine.lm_engine import (
    THINKING_TOKENS,
    AsyncLMEngine,
    LMEngine,
    check_fingerprint,
    check_limits,
    read_request,
    reply_of,
    source_in,
)
from gmner.programs.engine.scheduler import RequestScheduler
from gmner.programs.models.weights import Weights, load_weights


class VLMEngine(LMEngine[Weights]):
    """Runs DSPy's requests on a local model. Concurrent calls share a batch, each with its own schema.

    Uses continuous batching: a call is admitted as soon as the batch has a free row, and returns when its own answer
    has ended.

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

    def __init__(
        self,
        weights: Weights,
        *,
        max_batch: int = 16,
        backend: str = "llguidance",
        window: float = 0.008,
        thinking_tokens: int = THINKING_TOKENS,
    ) -> None:
        check_limits(max_batch, thinking_tokens)
        settings = {"max_batch": max_batch, "backend": backend, "window": window, "thinking_tokens": thinking_tokens}
        self._generator = Generator(weights, backend, thinking_tokens=thinking_tokens)
        scheduler = RequestScheduler(self._generator, max_batch, read_request, reply_of)
        batcher: Batcher[lm15.Request, lm15.Response] = Batcher(scheduler, window, partial(_forked, weights.model))
        super().__init__(weights, batcher, settings)

    def serving(self, model: PreTrainedModel) -> VLMEngine:
        """Create an engine with the same settings for another model of this architecture. The caller closes it."""
        return VLMEngine(replace(self.weights, model=model), **self._settings)

    @property
    def model(self) -> PreTrainedModel:
        """The model. Must not be trained while the engine uses it: cached image features would be outdated."""
        return self.weights.model

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> VLMEngine:
        """See `LMEngine.from_state`."""
        expected = state.pop("fingerprint")
        weights = load_weights(source_in(state))
        check_fingerprint(weights.fingerprint, expected)
        return cls(weights, **state)


def _forked(model: PreTrainedModel) -> bool:
    """Prepare torch in a forked process, and return whether the model can be used there.

    CUDA cannot be used in a forked process.
    """
    if model.device.type != "cpu":
        return False
    torch.set_num_threads(1)  # OpenMP would wait for ever for the parent's threads, which a fork does not copy
    return True


class AsyncVLMEngine(AsyncLMEngine):
    """Async interface to a `VLMEngine`."""

    kind = VLMEngine
