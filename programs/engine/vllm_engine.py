"""`VLLMEngine`: a local vision-language model, run by vLLM in this process."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from dspy import lm15

from gmner.programs.engine.batching import Batcher, PendingCall
from gmner.programs.engine.generation import Prompt
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
from gmner.programs.engine.vllm_generation import VLLMGenerator
from gmner.programs.models.checkpoint import Checkpoint, load_checkpoint, unmerged_rank
from gmner.programs.seams.vllm_seams import OfflineLLM, check_installed, is_dead
from gmner.signatures.errors import ModelError

_LOG = logging.getLogger(__name__)

OPTIONS = (
    "cpu_offload_gb", "enable_prefix_caching", "enforce_eager", "gpu_memory_utilization", "kv_cache_dtype",
    "kv_cache_memory_bytes", "max_model_len", "max_num_batched_tokens", "mm_processor_cache_gb", "quantization",
    "tensor_parallel_size",
)  # fmt: skip
"""Arguments of `vllm.LLM` that a user may set. Others would change prompts or images, or run code of a checkpoint."""

DTYPES = ("auto", "bfloat16", "float", "float16", "float32", "half")
"""The values of `dtype` that vLLM accepts."""

MOST = 256
"""Default of `max_batch`."""

_WINDOW = 0.05
_Call = PendingCall[lm15.Request, lm15.Response]


class VLLMEngine(LMEngine[Checkpoint]):
    """Runs DSPy's requests with vLLM. Concurrent calls are passed to vLLM as one list, each with its own schema.

    Calls that arrive while vLLM works wait for its next list.

    Args:
        weights: The checkpoint; vLLM loads its weights. A LoRA adapter is applied without merging.
        max_batch: Largest number of requests in a list, all of which vLLM may process at the same time.
        window: Seconds without a further call after which a list is complete.
        thinking_tokens: Tokens of thinking after which it is closed and the answer follows, if the checkpoint was
            loaded with `thinking`.
        options: Further arguments of `vllm.LLM`, see `OPTIONS`.

    Raises:
        ModelError: `max_batch` is below 1, `thinking_tokens` is negative, an option is not accepted, the model has no
            chat template, its adapter would have to be merged, or vLLM is not installed, finds no device or cannot load
            the model.
    """

    def __init__(
        self,
        weights: Checkpoint,
        *,
        max_batch: int = MOST,
        window: float = _WINDOW,
        thinking_tokens: int = THINKING_TOKENS,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        check_limits(max_batch, thinking_tokens)
        chosen = dict(options or {})
        check_options(chosen, weights.source.dtype)
        rank = unmerged_rank(weights)
        llm = OfflineLLM(
            weights.path, weights.adapter_path, rank, dtype=weights.source.dtype, max_num_seqs=max_batch, **chosen
        )
        lengths = [length for length in (weights.context, chosen.get("max_model_len")) if length is not None]
        generator = VLLMGenerator(weights, llm, min(lengths, default=None), thinking_tokens)
        batcher: Batcher[lm15.Request, lm15.Response] = Batcher(
            VLLMScheduler(generator, max_batch), window, lambda: False, renewed=True
        )
        settings = {
            "max_batch": max_batch, "window": window, "thinking_tokens": thinking_tokens, "options": chosen
        }  # fmt: skip
        super().__init__(weights, batcher, settings)

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> VLLMEngine:
        """See `LMEngine.from_state`."""
        expected = state.pop("fingerprint")
        check_installed()
        checkpoint = load_checkpoint(source_in(state))
        check_fingerprint(checkpoint.fingerprint, expected)
        return cls(checkpoint, **state)


def check_options(options: Mapping[str, Any], dtype: Any) -> None:
    """Check the arguments that are passed on to vLLM.

    Raises:
        ModelError: An argument or `dtype` is not accepted.
    """
    if unknown := [name for name in options if name not in OPTIONS]:
        remedy = "Remove it, or use engine='transformers', the default"
        fact = f"engine='vllm' does not accept {', '.join(unknown)}"
        raise ModelError(fact, received=options[unknown[0]], accepted=", ".join(OPTIONS), remedy=remedy)
    if dtype not in DTYPES:
        raise ModelError("vLLM does not accept this dtype", received=dtype, accepted=", ".join(DTYPES))


class VLLMScheduler:
    """A `gmner.programs.engine.batching.Scheduler` that passes all waiting calls to vLLM as one list.

    A call without a valid prompt fails alone. A list that vLLM refuses is split and run again, so that one bad prompt
    does not fail the others.

    Args:
        generator: Runs vLLM.
        most: Largest number of calls in a list.
    """

    def __init__(self, generator: VLLMGenerator, most: int) -> None:
        self._generator, self._most = generator, most
        self._requests: list[tuple[_Call, Prompt]] = []

    @property
    def capacity(self) -> int:
        """See `Scheduler`."""
        return self._most - len(self._requests)

    @property
    def active(self) -> bool:
        """See `Scheduler`."""
        return bool(self._requests)

    def forget(self) -> None:
        """See `Scheduler`."""
        self._requests = []

    def admit(self, calls: Sequence[_Call]) -> None:
        """See `Scheduler`."""
        for call in calls:
            try:
                prompt = replace(read_request(call.question), abandoned=call.abandoned)
                self._generator.check(prompt)
                self._requests.append((call, prompt))
            except Exception as error:
                call.settle(error)

    def step(self) -> None:
        """See `Scheduler`; answers all active calls."""
        requests = [(call, prompt) for call, prompt in self._requests if not call.abandoned()]
        if requests:
            self._run(requests)
        self._requests = []

    def _run(self, requests: Sequence[tuple[_Call, Prompt]]) -> None:
        try:
            completions = self._generator.generate([prompt for _, prompt in requests])
        except Exception as error:
            if is_dead(error):
                raise
            if len(requests) == 1:
                ((call, prompt),) = requests
                call.settle(self._generator.explained(prompt, error))
                return
            _LOG.warning("vLLM refused a list of %d calls; it is split and run again: %r", len(requests), error)
            middle = len(requests) // 2
            self._run(requests[:middle])
            self._run(requests[middle:])
            return
        for (call, prompt), completion in zip(requests, completions, strict=True):
            if isinstance(completion, Exception):
                call.settle(completion)
            else:
                call.settle(reply_of(call.question, prompt, completion))


class AsyncVLLMEngine(AsyncLMEngine):
    """Async interface to a `VLLMEngine`."""

    kind = VLLMEngine
