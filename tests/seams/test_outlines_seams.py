"""What we rely on in Outlines beyond its documentation; see programs/seams/outlines_seams.py."""

import json
from collections.abc import Callable

import dspy
import pytest
import torch
from llguidance import LLMatcher, LLTokenizer
from seam_checks import seam

from gmner.programs.seams import outlines_seams as seams

FILE = "programs/seams/outlines_seams.py"
SCHEMA = json.dumps({"type": "object", "properties": {"a": {"enum": ["b"]}}, "required": ["a"]})


@pytest.mark.parametrize("backend", ["llguidance", "outlines_core"])
def test_backends(tiny_lm: Callable[[str], dspy.LM], backend: str):
    engine = tiny_lm("idefics3").engine
    tokenizer = engine.processor.tokenizer
    with seam("outlines:backends", FILE):
        built = seams.grammar_backend(backend, engine.model, tokenizer)
        processor = built.get_json_schema_logits_processor(SCHEMA)
        ids, scores = torch.tensor([[1]]), torch.zeros(1, engine.model.config.text_config.vocab_size)
        allowed = (processor(ids, scores) > float("-inf")).nonzero()[:, 1].tolist()
        assert allowed
        assert {tokenizer.decode([token]).lstrip()[:1] for token in allowed} <= {"{", ""}
    with seam("outlines:LLGuidanceBackend.llg_tokenizer", FILE):
        found = seams.guidance_tokenizer(built)
        assert (found is not None) == (backend == "llguidance")
        if found is not None:
            assert isinstance(found, LLTokenizer)
            assert not LLMatcher(found, LLMatcher.grammar_from_json_schema(SCHEMA)).is_error()
