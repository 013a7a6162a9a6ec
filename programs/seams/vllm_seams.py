"""vLLM in this process, and undocumented parts of it; no other file of the package uses vLLM.

vLLM is not a dependency. All of this has run with the CPU build of vLLM 0.32: `structured_outputs` and `under_schemas`
in `benchmarks/vllm_rollouts.py`, and `OfflineLLM` in `benchmarks/beside_vllm.py`. The tests use a stand-in, and
`tests/seams/test_vllm_seams.py` checks it against vLLM where that is installed.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from gmner.signatures.errors import EngineError, ModelError
from gmner.signatures.schema import served_schema

FORBIDDEN = -100.0
"""The bias of the logit of a token that an answer must not contain, the lowest that `SamplingParams` accepts."""


def structured_outputs(schema: Mapping[str, Any]) -> Any:
    """The constraint of one request, in the form that `SamplingParams(structured_outputs=...)` takes.

    Relies on `vllm.sampling_params.StructuredOutputsParams`, which the documentation imports from there, but which has
    moved and been renamed between versions.

    Args:
        schema: One of our JSON schemas.
    """
    from vllm.sampling_params import StructuredOutputsParams

    return StructuredOutputsParams(json=served_schema(dict(schema)))


def under_schemas(generate: Callable[..., Any], schemas: Sequence[str]) -> Callable[..., Any]:
    """`vllm.LLM.generate` with a schema of its own for each prompt.

    Relies on `SamplingParams.clone` and on `generate(prompts, sampling_params=[...])`, one for each prompt: TRL calls
    it with the same parameters for all prompts.

    Args:
        generate: The method of a `vllm.LLM`.
        schemas: The schemas as JSON text, one for each prompt of the next call.
    """

    def constrained(prompts: Any, sampling_params: Any, **options: Any) -> Any:
        each = [sampling_params.clone() for _ in prompts]
        for params, schema in zip(each, schemas, strict=True):
            params.structured_outputs = structured_outputs(json.loads(schema))
        return generate(prompts, sampling_params=each, **options)

    return constrained


RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
"""The values that `max_lora_rank` may have (`vllm.config.lora.MaxLoRARanks`)."""

_GRAMMARS = {"backend": "guidance"}
# llguidance, as in our own engine.


@dataclass(frozen=True, slots=True)
class Request:
    """One prompt for vLLM and how its answer is sampled.

    Attributes:
        ids: The token ids of the prompt, with one placeholder for each image.
        images: The images, in order.
        max_tokens: Token limit, the end token included.
        end_ids: Token ids that end the answer.
        grammar: The grammar of the answer, in llguidance's variant of Lark; None: free text.
        stop: A text that ends the answer; None: none.
        temperature: Sampling temperature; 0: greedy.
        top_p: See `gmner.programs.engine.constrained_sampler.Sampling`.
        top_k: The same.
        seed: The same.
        logprobs: Whether the log probability of each token is wanted.
        never: Token ids that the answer must not contain.
    """

    ids: Sequence[int]
    images: Sequence[Image.Image]
    max_tokens: int
    end_ids: Sequence[int]
    grammar: str | None = None
    stop: str | None = None
    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    seed: int | None = None
    logprobs: bool = False
    never: Sequence[int] = ()


@dataclass(frozen=True, slots=True)
class Written:
    """What vLLM has written.

    Attributes:
        prompt_ids: The prompt that vLLM has processed, with the placeholders of the images repeated.
        ids: The token ids of the answer, with the end token if it has one.
        logprobs: The logarithm of the probability of each token among those that the schema allows, at temperature 1;
            None: not asked for.
    """

    prompt_ids: Sequence[int]
    ids: list[int]
    logprobs: list[float] | None


class OfflineLLM:
    """`vllm.LLM`, which answers lists of prompts in this process.

    Relies on the arguments of `vllm.LLM` that are set here, on grammars of llguidance in `StructuredOutputsParams`, on
    prompts of the form `prompt_token_ids` with `multi_modal_data`, on `LoRARequest(name, id, path)`, and on log
    probabilities that are computed after the mask of the grammar and before the temperature
    (`logprobs_mode="raw_logprobs"`).

    Args:
        model: The folder of the checkpoint.
        adapter: The folder of a LoRA adapter that is applied without merging; None: none.
        rank: The rank of the adapter.
        **options: Further arguments of `vllm.LLM`.

    Raises:
        ModelError: vLLM is not installed, finds no device, or cannot load the model.
    """

    def __init__(self, model: Path, adapter: Path | None = None, rank: int | None = None, **options: Any) -> None:
        check_installed()
        import vllm

        lora: dict[str, Any] = {}
        self._adapter: Any = None
        if adapter is not None and rank is not None:
            from vllm.lora.request import LoRARequest

            lora = {"enable_lora": True, "max_loras": 1, "max_lora_rank": allowed_rank(rank)}
            self._adapter = LoRARequest(adapter.name, 1, str(adapter))
        try:
            self._llm = vllm.LLM(
                str(model),
                load_format="safetensors",
                structured_outputs_config=dict(_GRAMMARS),
                logprobs_mode="raw_logprobs",
                **lora,
                **options,
            )
        except Exception as error:
            fact = "vLLM cannot load the model"
            raise ModelError(fact, received=str(model), remedy=str(error) or type(error).__name__) from error

    def generate(self, requests: Sequence[Request]) -> list[Written]:
        """Answer prompts; returns one answer for each, in order.

        Raises:
            EngineError: vLLM returned another number of answers.
            Exception: What vLLM raises for a prompt that it refuses, a `ValueError` for instance.
        """
        prompts = [_prompt(request) for request in requests]
        parameters = [_parameters(request) for request in requests]
        outputs = self._llm.generate(prompts, parameters, use_tqdm=False, lora_request=self._adapter)
        if len(outputs) != len(requests):
            fact = "vLLM returned another number of answers than prompts"
            raise EngineError(fact, received=len(outputs), accepted=str(len(requests)), remedy="Load the model again")
        return [_written(output, request) for output, request in zip(outputs, requests, strict=True)]


def check_installed() -> None:
    """Check that vLLM can run here.

    Relies on `vllm.platforms.current_platform`, which is unspecified if vLLM finds no device that its build supports,
    and on `VLLM_LOGGING_STREAM`: by default, vLLM logs to the standard output, among the answers of a command.

    Raises:
        ModelError: vLLM is not installed, or finds no device.
    """
    os.environ.setdefault("VLLM_LOGGING_STREAM", "ext://sys.stderr")
    try:
        import vllm  # noqa: F401
        from vllm.platforms import current_platform
    except ImportError as error:
        remedy = 'pip install "gmner[vllm]", or use engine="transformers", the default'
        raise ModelError(
            "engine='vllm' requires vLLM, which cannot be imported", received=str(error), remedy=remedy
        ) from error
    if current_platform.is_unspecified():
        remedy = "Use a machine with a GPU, install vLLM's CPU build, or use engine='transformers', the default"
        raise ModelError("vLLM finds no device that its build supports", accepted="a GPU", remedy=remedy)


def is_dead(error: BaseException) -> bool:
    """Whether an error means that vLLM's engine has ended (`vllm.v1.engine.exceptions.EngineDeadError`)."""
    return type(error).__name__ == "EngineDeadError"


def allowed_rank(rank: int) -> int:
    """The smallest `max_lora_rank` that vLLM accepts for an adapter of this rank.

    Raises:
        ModelError: vLLM has none.
    """
    for allowed in RANKS:
        if allowed >= rank:
            return allowed
    raise ModelError("The rank of the adapter is too high for vLLM", received=rank, accepted=f"up to {RANKS[-1]}")


def _prompt(request: Request) -> dict[str, Any]:
    images = {"multi_modal_data": {"image": list(request.images)}} if request.images else {}
    return {"prompt_token_ids": list(request.ids), **images}


def _parameters(request: Request) -> Any:
    import vllm
    from vllm.sampling_params import StructuredOutputsParams

    return vllm.SamplingParams(
        temperature=request.temperature,
        top_p=request.top_p,
        top_k=request.top_k,
        seed=request.seed,
        max_tokens=request.max_tokens,
        stop=request.stop,
        include_stop_str_in_output=request.stop is not None,
        stop_token_ids=list(request.end_ids),
        skip_special_tokens=request.stop is None,  # a stop text may be a special token
        logprobs=0 if request.logprobs else None,  # 0: only the token that was written
        logit_bias=dict.fromkeys(request.never, FORBIDDEN) or None,
        # With `json=`, llguidance would also choose the tokens wherever only one text is possible.
        structured_outputs=None if request.grammar is None else StructuredOutputsParams(grammar=request.grammar),
    )


def _written(output: Any, request: Request) -> Written:
    (answer,) = output.outputs
    ids = list(answer.token_ids)
    logprobs = None
    if request.logprobs:
        logprobs = [float(each[token].logprob) for token, each in zip(ids, answer.logprobs, strict=True)]
    return Written(output.prompt_token_ids, ids, logprobs)
