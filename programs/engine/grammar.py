"""One grammar a row: Outlines' back ends for batches whose every row has a schema of its own.

Outlines compiles a grammar and enforces it on a whole batch. Here each row has its own: with the llguidance back end,
the default, the batch has one mask of all of them; the processors of other back ends are called a row each.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import outlines
import torch
import xxhash
from llguidance import LLMatcher, LLParserLimits, LLTokenizer
from outlines.backends import LLGuidanceBackend, OutlinesCoreBackend, XGrammarBackend
from outlines.backends.base import BaseBackend
from transformers import PreTrainedModel
from transformers.tokenization_utils_base import PreTrainedTokenizerBase

from gmner.programs.engine.recent import Recent
from gmner.signatures.errors import InputError, ModelError
from gmner.signatures.schema import Schema

_BACKENDS: dict[str, Callable[[Any], BaseBackend]] = {
    "llguidance": LLGuidanceBackend,
    "outlines_core": OutlinesCoreBackend,
    "xgrammar": XGrammarBackend,
}

_COMPACT = {"whitespace_flexible": False, "item_separator": ",", "key_separator": ":"}
# Put on schemas that do not say: a model that may write blanks between tokens can do so for ever.

_UNFORCED = '%llguidance {"no_forcing": true}\nstart: %json '
# Where the grammar allows one text only, llguidance would also prescribe its tokens. A model has its own: the embedded
# one writes `{"box":null}` as one token, which a prescribed `{` would rule out.

_KEPT = 128 * 2**20
# Bytes of parsed grammars that are kept: parsing takes milliseconds, copying one next to nothing. The grammar of a post
# of 2,000 words takes half a second and 40 MB.

_PARSED, _PARSED_LEAST = 14, 2**18
# Bytes of a parsed grammar for each byte of its schema, and for any schema, once it has been followed; measured with 2
# to 2,000 words.

_LIMITS = LLParserLimits(initial_lexer_fuel=1_000_000_000)
# A thousand times llguidance's own, which ends at some thousands of different spans with odd signs.

_BITS = 32
# Tokens in a word of llguidance's masks.

_SAID = 200
# So much of llguidance's reason is passed on; the whole schema follows it.

Mask = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""An Outlines logits processor: ids (rows, length), scores (rows, vocabulary) -> scores, forbidden tokens at -inf."""


@dataclass(frozen=True, slots=True)
class Grammar:
    """A grammar of llguidance at its beginning, and the tokenizer that it was parsed for."""

    matcher: LLMatcher
    tokenizer: LLTokenizer


class GrammarCompiler:
    """Turns JSON schemas into grammars of one model.

    The back end's tokenizer is built once, here; it is the expensive part.

    Args:
        model: The model that will generate.
        tokenizer: Its tokenizer.
        backend: A back end of Outlines. Only `llguidance` enforces every part of our schemas.

    Raises:
        ModelError: An unknown back end, or one that is not installed.
    """

    def __init__(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, backend: str) -> None:
        if backend not in _BACKENDS:
            raise ModelError("Unknown grammar back end", received=backend, accepted=", ".join(_BACKENDS))
        try:
            self._backend = _BACKENDS[backend](outlines.from_transformers(model, tokenizer))
        except ImportError as error:
            raise ModelError(f"The back end {backend} is not installed", remedy=f"pip install {error.name}") from error
        self._parsed: Recent[LLMatcher] = Recent(_KEPT)

    def compile(self, schema: Schema) -> Grammar | Mask:
        """The grammar of one row of one generation; never share it.

        Raises:
            InputError: The back end cannot compile the schema.
        """
        text = json.dumps({"x-guidance": _COMPACT, **schema}, ensure_ascii=False)
        if isinstance(self._backend, LLGuidanceBackend):
            tokenizer = self._backend.llg_tokenizer
            return Grammar(self._matcher(text, tokenizer).deep_copy(), tokenizer)
        try:
            return self._backend.get_json_schema_logits_processor(text)
        except (ValueError, RuntimeError, TypeError, NotImplementedError) as error:
            raise InputError("A JSON schema cannot be compiled", received=text, remedy=str(error)) from error

    def _matcher(self, schema: str, tokenizer: LLTokenizer) -> LLMatcher:
        written = schema.encode("utf-8", "surrogatepass")
        key = xxhash.xxh3_128_digest(written)
        if (matcher := self._parsed.get(key)) is None:
            matcher = _parse(schema, tokenizer)
            self._parsed.put(key, matcher, _PARSED_LEAST + _PARSED * len(written))
        return matcher


def _parse(schema: str, tokenizer: LLTokenizer) -> LLMatcher:
    matcher = LLMatcher(tokenizer, _UNFORCED + schema, log_level=0, limits=_LIMITS)
    if matcher.is_error():
        raise InputError("A JSON schema cannot be compiled", received=schema, remedy=matcher.get_error()[:_SAID])
    return matcher


class RowMasks:
    """Enforces the grammars of a batch, whose rows leave and join.

    Rows under llguidance have one mask for the whole batch; the processors of other back ends are called a row each.

    Args:
        grammars: One a row, at its beginning; None: free text.
    """

    def __init__(self, grammars: Sequence[Grammar | Mask | None]) -> None:
        self._rows: list[_RowMask] = []
        self._bits: Any = None  # llguidance's mask of all rows, a tensor once there is a grammar
        self.join(grammars)

    def __call__(self, input_ids: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
        """Ids (rows, length), scores (rows, vocabulary) -> scores with forbidden tokens at -inf.

        Raises:
            ModelError: A grammar cannot go on.
        """
        last = input_ids[:, -1].tolist()
        for place, row in enumerate(self._rows):
            if isinstance(row.grammar, Grammar):
                self._fill(self._bits[place], row.grammar.matcher, last[place] if row.begun else None)
                row.begun = True
            elif row.grammar is not None:
                one = slice(place, place + 1)
                logits[one] = row.grammar(input_ids[one], logits[one])
        return logits if self._bits is None else forbid(logits, self._bits.to(logits.device))

    def _fill(self, bits: torch.Tensor, matcher: LLMatcher, last: int | None) -> None:
        """What llguidance's own `fill_next_token_bitmask` does; its module would compile a kernel, and load that."""
        if last is not None:
            matcher.consume_token(last)
        matcher.unsafe_compute_mask_ptr(bits.data_ptr(), bits.numel() * bits.element_size())
        if matcher.is_error():
            raise ModelError("The grammar of an answer cannot go on", received=matcher.get_error())

    def end(self, place: int) -> None:
        """A row is over: its grammar is not asked again."""
        self._rows[place] = _RowMask(None)
        if self._bits is not None:
            self._bits[place] = -1

    def keep(self, places: Sequence[int]) -> None:
        """Only these rows stay in the batch, in this order."""
        self._rows = [self._rows[place] for place in places]
        if self._bits is not None:
            self._bits = self._bits[list(places)]

    def join(self, grammars: Sequence[Grammar | Mask | None]) -> None:
        """Further rows, after the others."""
        self._rows += [_RowMask(grammar) for grammar in grammars]
        tokenizer = next((grammar.tokenizer for grammar in grammars if isinstance(grammar, Grammar)), None)
        if self._bits is None and tokenizer is not None:
            words = -(-tokenizer.vocab_size // _BITS)
            self._bits = torch.full((len(self._rows), words), -1, dtype=torch.int32)  # all is allowed
        elif self._bits is not None:
            self._bits = torch.cat([self._bits, self._bits.new_full((len(grammars), self._bits.shape[1]), -1)])


def forbid(logits: torch.Tensor, bits: torch.Tensor) -> torch.Tensor:
    """Scores (rows, vocabulary), in place, -inf where a row's bit is 0 or there is none: bits (rows, words of 32)."""
    allowed = bits[:, :, None] >> torch.arange(_BITS, dtype=torch.int32, device=bits.device) & 1
    known = min(logits.shape[1], _BITS * bits.shape[1])
    logits[:, :known].masked_fill_(allowed.flatten(1)[:, :known] == 0, float("-inf"))
    logits[:, known:] = float("-inf")
    return logits


@dataclass(slots=True)
class _RowMask:
    grammar: Grammar | Mask | None
    begun: bool = False
