"""What we rely on in vLLM beyond its documentation; see programs/seams/vllm_seams.py."""

import copy
import inspect
import json
import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from seam_checks import seam

from gmner.programs.engine.grammar import grammar_text
from gmner.programs.seams import vllm_seams
from gmner.signatures.boxes import BoxFormat
from gmner.signatures.labels import COARSE
from gmner.signatures.schema import answer_schema, served_schema

SCHEMA = answer_schema("Paris", COARSE, BoxFormat("normalized", 1000), (2, 2), None)


class Params(SimpleNamespace):
    def clone(self) -> "Params":
        return copy.copy(self)


def test_each_prompt_has_its_own_schema(monkeypatch: pytest.MonkeyPatch):
    module = ModuleType("vllm.sampling_params")
    module.StructuredOutputsParams = SimpleNamespace
    monkeypatch.setitem(sys.modules, "vllm", ModuleType("vllm"))
    monkeypatch.setitem(sys.modules, "vllm.sampling_params", module)
    calls: list[Any] = []
    generate = vllm_seams.under_schemas(
        lambda *args, **options: calls.append((args, options)), [json.dumps(SCHEMA)] * 2
    )
    given = Params(temperature=0.5)
    generate(["a", "b"], given, use_tqdm=False)
    ((prompts,), options) = calls[0]
    assert prompts == ["a", "b"]
    assert [params.structured_outputs.json for params in options["sampling_params"]] == [served_schema(SCHEMA)] * 2
    assert (options["use_tqdm"], hasattr(given, "structured_outputs")) == (False, False)
    with pytest.raises(ValueError, match="shorter"):
        generate(["a", "b", "c"], given)


def test_installed_vllm():
    vllm = pytest.importorskip("vllm")
    with seam("vllm:SamplingParams.clone and StructuredOutputsParams", "programs/seams/vllm_seams.py"):
        params = vllm.SamplingParams(temperature=0.5, logit_bias={3: vllm_seams.FORBIDDEN}).clone()
        params.structured_outputs = vllm_seams.structured_outputs(SCHEMA)
        assert params.structured_outputs.json == served_schema(SCHEMA)
        assert params.temperature == 0.5


def test_arguments_that_an_installed_vllm_takes():
    vllm = pytest.importorskip("vllm")
    from vllm.engine.arg_utils import EngineArgs
    from vllm.lora.request import LoRARequest
    from vllm.platforms import current_platform
    from vllm.v1.structured_output.backend_guidance import validate_guidance_grammar

    from gmner.programs.engine.vllm_engine import OPTIONS

    with seam("vllm:LLM, SamplingParams, LoRARequest and current_platform", "programs/seams/vllm_seams.py"):
        ours = {"dtype", "max_num_seqs", "load_format", "structured_outputs_config", "logprobs_mode"}
        lora = {"enable_lora", "max_loras", "max_lora_rank"}
        assert {*ours, *lora, *OPTIONS} <= set(inspect.signature(EngineArgs).parameters)
        assert {"use_tqdm", "lora_request"} <= set(inspect.signature(vllm.LLM.generate).parameters)
        assert LoRARequest("name", 1, "/path").lora_path == "/path"
        assert isinstance(current_platform.is_unspecified(), bool)
        request = vllm_seams.Request([1], [], 5, [2], grammar_text(SCHEMA), stop="x", seed=3, logprobs=True, never=[7])
        parameters = vllm_seams._parameters(request)
        assert parameters.logit_bias == {7: vllm_seams.FORBIDDEN}
        validate_guidance_grammar(parameters)
