"""Grammars of a batch in which each row has its own JSON schema.

A logits processor of Outlines enforces one grammar on a whole batch. With the llguidance back end (the default), the
rows here fill one mask tensor for the batch; with other back ends, one processor is called for each row.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import xxhash
from llguidance import LLMatcher, LLParserLimits, LLTokenizer
from llguidance.numpy import fill_next_token_bitmask
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from gmner.programs.engine.recent import Recent
from gmner.programs.engine.span_grammar import has_spans, span_grammar
from gmner.programs.seams.outlines_seams import BACKENDS, grammar_backend, guidance_tokenizer
from gmner.signatures.errors import InputError, ModelError
from gmner.signatures.schema import Schema, served_schema

_COMPACT = {"whitespace_flexible": False, "item_separator": ",", "key_separator": ":"}
# The default for schemas without `x-guidance`: white space between JSON tokens could be repeated for ever.

_UNFORCED = '%llguidance {"no_forcing": true}\nstart: %json '
# Where only one text is possible, llguidance would also force its tokenisation. The model may have learned another one:
# the embedded model writes `{"box":null}` as a single token, which a forced `{` would rule out.

_CACHE_BYTES = 128 * 2**20
# Capacity in bytes of the cache of parsed grammars. Parsing takes milliseconds; copying a parsed grammar costs next to
# nothing.

_BYTES_PER_SCHEMA_BYTE, _FIXED_BYTES = 14, 2**18
# Estimated bytes of a parsed grammar after use: for each byte of its schema, and the fixed part. llguidance does not
# report the size; measured with posts of 2 to 2,000 words.

_LIMITS = LLParserLimits(initial_lexer_fuel=1_000_000_000)
# A thousand times the default, which a few thousand distinct spans with unusual characters exceed.

_BITS = 32
# Tokens in a word of llguidance's masks.

_MESSAGE_LENGTH = 200
# Characters of llguidance's message that are kept: the whole schema follows.

Mask = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""An Outlines logits processor: ids (rows, length), scores (rows, vocabulary) -> scores, forbidden tokens at -inf."""


@dataclass(frozen=True, slots=True)
class Grammar:
    """A grammar of llguidance in its initial state, and the tokenizer that it was parsed for."""

    matcher: LLMatcher
    tokenizer: LLTokenizer


class GrammarCompiler:
    """Compiles JSON schemas to grammars for one model.

    The constructor builds the back end's tokenizer, which is the expensive part.

    Args:
        model: The model that will generate.
        tokenizer: Its tokenizer.
        backend: A back end of Outlines. Only `llguidance` enforces every part of our schemas.

    Raises:
        ModelError: The back end is unknown or not installed.
    """

    def __init__(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, backend: str) -> None:
        if backend not in BACKENDS:
            raise ModelError("Unknown grammar back end", received=backend, accepted=", ".join(BACKENDS))
        try:
            self._backend = grammar_backend(backend, model, tokenizer)
        except ImportError as error:
            raise ModelError(f"The back end {backend} is not installed", remedy=f"pip install {error.name}") from error
        self._cache: Recent[LLMatcher] = Recent(_CACHE_BYTES)

    def compile(self, schema: Schema) -> Grammar | Mask:
        """Compile a schema for one row. The result has state and must not be shared between rows.

        Raises:
            InputError: The back end cannot compile the schema.
        """
        tokenizer = guidance_tokenizer(self._backend)
        if tokenizer is not None:
            return Grammar(self._matcher(grammar_text(schema), tokenizer).deep_copy(), tokenizer)
        text = _json_text(served_schema(schema) if has_spans(schema) else schema)
        try:
            return self._backend.get_json_schema_logits_processor(text)
        except (ValueError, RuntimeError, TypeError, NotImplementedError) as error:
            raise InputError("A JSON schema cannot be compiled", received=text, remedy=str(error)) from error

    def _matcher(self, grammar: str, tokenizer: LLTokenizer) -> LLMatcher:
        written = grammar.encode("utf-8", "surrogatepass")
        key = xxhash.xxh3_128_digest(written)
        if (matcher := self._cache.get(key)) is None:
            matcher = _parse(grammar, tokenizer)
            self._cache.put(key, matcher, _FIXED_BYTES + _BYTES_PER_SCHEMA_BYTE * len(written))
        return matcher


def grammar_text(schema: Schema) -> str:
    """The grammar of a JSON schema in llguidance's variant of Lark, which leaves the choice of tokens to the model."""
    return span_grammar(schema, _COMPACT) if has_spans(schema) else _UNFORCED + _json_text(schema)


def _json_text(schema: Schema) -> str:
    return json.dumps({"x-guidance": _COMPACT, **schema}, ensure_ascii=False)


def _parse(grammar: str, tokenizer: LLTokenizer) -> LLMatcher:
    matcher = LLMatcher(tokenizer, grammar, log_level=0, limits=_LIMITS)
    if matcher.is_error():
        schema = grammar.removeprefix(_UNFORCED)
        raise InputError(
            "A JSON schema cannot be compiled", received=schema, remedy=matcher.get_error()[:_MESSAGE_LENGTH]
        )
    return matcher


class RowMasks:
    """Masks the scores of a batch by the grammars of its rows; rows can be removed and added between steps.

    Args:
        grammars: One a row, in its initial state; None: free text.
    """

    def __init__(self, grammars: Sequence[Grammar | Mask | None]) -> None:
        self._rows: list[_RowMask] = []
        self._bits: Any = None  # llguidance's bit mask, (rows, words) int32; None until a row has a grammar
        self.join(grammars)

    def __call__(self, input_ids: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
        """Ids (rows, length), scores (rows, vocabulary) -> scores with forbidden tokens at -inf.

        Raises:
            ModelError: A grammar rejects the last token of its row.
        """
        last_ids = input_ids[:, -1].tolist()
        for place, row in enumerate(self._rows):
            if row.waiting:
                continue
            if isinstance(row.grammar, Grammar):
                self._fill(place, row.grammar.matcher, last_ids[place] if row.begun else None)
                row.begun = True
            elif row.grammar is not None:
                one = slice(place, place + 1)
                logits[one] = row.grammar(input_ids[one], logits[one])
        return logits if self._bits is None else forbid(logits, self._bits.to(logits.device))

    def _fill(self, place: int, matcher: LLMatcher, last: int | None) -> None:
        """Advance a row's grammar by its last token, and write the mask of the next one."""
        if last is not None:
            matcher.consume_token(last)
        # The array shares the tensor's memory. llguidance.torch would compile a kernel that is not needed here.
        fill_next_token_bitmask(matcher, self._bits.numpy(), place)
        if matcher.is_error():
            raise ModelError("The grammar of an answer cannot continue", received=matcher.get_error())

    def begin(self, place: int) -> None:
        """Apply the grammar of a row that was waiting, from the next token on."""
        self._rows[place].waiting = False

    def end(self, place: int) -> None:
        """Mark a row as ended: its grammar is not used any more, and all tokens are allowed."""
        self._rows[place] = _RowMask(None)
        if self._bits is not None:
            self._bits[place] = -1

    def keep(self, places: Sequence[int]) -> None:
        """Keep these rows, in this order, and remove the others."""
        self._rows = [self._rows[place] for place in places]
        if self._bits is not None:
            self._bits = self._bits[list(places)]

    def join(self, grammars: Sequence[Grammar | Mask | None], waiting: Sequence[bool] = ()) -> None:
        """Append rows.

        Args:
            grammars: One a row, in its initial state; None: free text.
            waiting: For each row whether its grammar applies only after `begin`; empty: for none.
        """
        self._rows += [_RowMask(*row) for row in zip(grammars, waiting or [False] * len(grammars), strict=True)]
        tokenizer = next((grammar.tokenizer for grammar in grammars if isinstance(grammar, Grammar)), None)
        if self._bits is None and tokenizer is not None:
            words = -(-tokenizer.vocab_size // _BITS)
            self._bits = torch.full((len(self._rows), words), -1, dtype=torch.int32)  # all is allowed
        elif self._bits is not None:
            self._bits = torch.cat([self._bits, self._bits.new_full((len(grammars), self._bits.shape[1]), -1)])


def forbid(logits: torch.Tensor, bits: torch.Tensor) -> torch.Tensor:
    """Set scores (rows, vocabulary) to -inf, in place, where their bit in `bits` (rows, words of 32) is 0 or missing.

    Models pad the vocabulary beyond that of the tokenizer, so the last tokens have no bit.
    """
    allowed = bits[:, :, None] >> torch.arange(_BITS, dtype=torch.int32, device=bits.device) & 1
    known = min(logits.shape[1], _BITS * bits.shape[1])
    logits[:, :known].masked_fill_(allowed.flatten(1)[:, :known] == 0, float("-inf"))
    logits[:, known:] = float("-inf")
    return logits


@dataclass(slots=True)
class _RowMask:
    grammar: Grammar | Mask | None
    waiting: bool = False
    begun: bool = False
