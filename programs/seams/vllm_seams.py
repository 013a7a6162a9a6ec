"""Undocumented parts of vLLM; no other file of the package uses any.

vLLM is not a dependency. These functions were written against vLLM 0.32, whose CPU build
`benchmarks/vllm_rollouts.py` runs. `tests/seams/test_vllm_seams.py` checks them where vLLM is installed.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

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
