"""What we rely on in llguidance; all of it is public, see programs/engine/grammar.py."""

import json
from collections.abc import Callable

import dspy
import llguidance.hf
import torch
from llguidance import LLMatcher, LLParserLimits, LLTokenizer
from llguidance.numpy import fill_next_token_bitmask
from seam_checks import seam

FILE = "programs/engine/grammar.py"
SCHEMA = json.dumps({"enum": ["Paris"], "x-guidance": {"whitespace_flexible": False}})


def allowed(tokenizer: LLTokenizer, grammar: str, *tokens: int) -> list[int]:
    """Ids of the tokens that may follow these."""
    matcher = LLMatcher(tokenizer, grammar, log_level=0, limits=LLParserLimits(initial_lexer_fuel=1_000_000_000))
    assert not matcher.is_error(), matcher.get_error()
    matcher = matcher.deep_copy()
    for token in tokens:
        matcher.consume_token(token)
    bits = torch.full((1, -(-tokenizer.vocab_size // 32)), -1, dtype=torch.int32)
    fill_next_token_bitmask(matcher, bits.numpy(), 0)
    words = bits[0][:, None] >> torch.arange(32, dtype=torch.int32) & 1
    return words.flatten().nonzero()[:, 0].tolist()


def test_masks_without_forced_tokens(tiny_lm: Callable[[str], dspy.LM]):
    tokenizer = tiny_lm("idefics3").engine.processor.tokenizer
    converted = llguidance.hf.from_tokenizer(tokenizer)
    with seam("llguidance:no_forcing, x-guidance and masks", FILE):
        free = allowed(converted, '%llguidance {"no_forcing": true}\nstart: %json ' + SCHEMA)
        texts = {tokenizer.decode([token]) for token in free}
        assert '"' in texts
        assert all('"Paris"'.startswith(text) for text in texts), "no white space, and nothing else"
        (quote,) = tokenizer.encode('"', add_special_tokens=False)
        inside = allowed(converted, '%llguidance {"no_forcing": true}\nstart: %json ' + SCHEMA, quote)
        assert len(inside) > 1, "each way to split the word into tokens is allowed"
        assert len(allowed(converted, "start: %json " + SCHEMA, quote)) == 1, "by default, one way is forced"
