"""One grammar a row: Outlines' logits processors composed for a batch, with each row's own sampling and length.

Outlines compiles and enforces a grammar for a whole batch; here every row has a schema of its own. `RowLogits` hands
each row to its own Outlines processor. It also draws each row's token itself, so that rows with different temperatures
and seeds share a batch: after it only the drawn token is possible, and `generate` runs greedily.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import outlines
import torch
from llguidance import LLMatcher
from outlines.backends import LLGuidanceBackend, OutlinesCoreBackend, XGrammarBackend
from outlines.backends.base import BaseBackend
from outlines.backends.llguidance import LLGuidanceLogitsProcessor
from transformers import LogitsProcessor, PreTrainedModel, TopKLogitsWarper, TopPLogitsWarper
from transformers.tokenization_utils_base import PreTrainedTokenizerBase

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

Mask = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""An Outlines logits processor: ids (1, length), scores (1, vocabulary) -> scores with forbidden tokens at -inf."""


class GrammarCompiler:
    """Turns JSON schemas into Outlines logits processors of one model.

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

    def compile(self, schema: Schema) -> Mask:
        """A fresh processor for one row of one generation; never share it.

        Raises:
            InputError: The back end cannot compile the schema.
        """
        text = json.dumps({"x-guidance": _COMPACT, **schema}, ensure_ascii=False)
        try:
            if isinstance(self._backend, LLGuidanceBackend):
                return self._backend.get_cfg_logits_processor(_UNFORCED + text)
            return self._backend.get_json_schema_logits_processor(text)
        except (ValueError, RuntimeError, TypeError, NotImplementedError) as error:
            raise InputError("A JSON schema cannot be compiled", received=text, remedy=str(error)) from error

    def check(self, schema: Schema) -> None:
        """Raise `InputError` if the back end cannot compile the schema.

        llguidance alone would report it as a warning at the second token, when nothing is masked any more.
        """
        mask = self.compile(schema)
        if isinstance(mask, LLGuidanceLogitsProcessor):
            problem = LLMatcher.validate_grammar(mask.grammar, mask.llg_tokenizer)
            if problem:
                raise InputError("A JSON schema cannot be compiled", received=schema, remedy=problem)


@dataclass(frozen=True, slots=True)
class Sampling:
    """How a row's tokens are drawn.

    Args:
        temperature: 0: the most likely token.
        top_p: Keep the smallest set of tokens with this probability.
        top_k: Keep this many tokens; 0: all.
        seed: Makes the row's draws repeatable, whatever else is in its batch.
    """

    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    seed: int | None = None

    def warpers(self) -> list[LogitsProcessor]:
        """Transformers' own warpers for these settings."""
        found: list[LogitsProcessor] = []
        if self.top_k > 0:
            found.append(TopKLogitsWarper(self.top_k))
        if self.top_p < 1.0:
            found.append(TopPLogitsWarper(self.top_p))
        return found


@dataclass(slots=True)
class Row:
    """The state of one row while it is generated.

    Attributes:
        mask: The row's grammar; None: free text.
        limit: Most tokens of the answer, the end token not counted.
        sampling: How tokens are drawn.
        ended: Set when the answer has ended.
        truncated: Set when the limit came before the end.
        logprobs: Gets the logarithm of each token's probability among those that the grammar allows, at temperature 1;
            None: nobody asks.
    """

    mask: Mask | None
    limit: int
    sampling: Sampling
    logprobs: list[float] | None = None
    ended: bool = False
    truncated: bool = False
    _generator: torch.Generator | None = field(default=None, repr=False)

    def draw(self, scores: torch.Tensor) -> torch.Tensor:
        """The next token of a row, scores (1, vocabulary) -> (1, 1)."""
        if self.sampling.temperature <= 0:
            return scores.argmax(-1, keepdim=True)
        scores = scores / self.sampling.temperature
        for warper in self.sampling.warpers():
            scores = warper(None, scores)
        return torch.multinomial(scores.softmax(-1), 1, generator=self._seeded(scores.device))

    def _seeded(self, device: torch.device) -> torch.Generator | None:
        if self.sampling.seed is not None and self._generator is None:
            self._generator = torch.Generator(device).manual_seed(self.sampling.seed)
        return self._generator


class RowLogits(LogitsProcessor):
    """The logits processor of one `generate` call over rows with grammars of their own.

    Args:
        rows: One per row of the batch, used for this one call.
        end_ids: Ids that end an answer.
        end_id: The id written to end an answer.
    """

    def __init__(self, rows: Sequence[Row], end_ids: Sequence[int], end_id: int) -> None:
        self.rows, self.end_ids, self.end_id = rows, frozenset(end_ids), end_id
        self._step = 0

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Mask and draw: ids (rows, length), scores (rows, vocabulary) -> scores with one finite value a row."""
        last = input_ids[:, -1].tolist()
        drawn = torch.full_like(scores, float("-inf"))
        # Without this torch would compile the back ends' mask kernels, ten seconds for what takes a fraction of one.
        with torch.compiler.set_stance("force_eager"):
            for index, row in enumerate(self.rows):
                row.ended = row.ended or (self._step > 0 and last[index] in self.end_ids)
                if row.ended:  # the grammar is over and must not be asked again; `generate` pads the row
                    drawn[index, self.end_id] = 0.0
                else:
                    token = self._next(row, input_ids[index : index + 1], scores[index : index + 1])
                    drawn[index].scatter_(0, token[0], 0.0)
        self._step += 1
        return drawn

    def _next(self, row: Row, ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        if row.mask is not None:
            scores = row.mask(ids, scores)
        if self._step < row.limit:
            token = row.draw(scores)
            if row.logprobs is not None:
                row.logprobs.append(float(scores[0].float().log_softmax(-1)[token[0, 0]]))
            return token
        may_end = row.mask is not None and bool(scores[0, self.end_id] > float("-inf"))
        row.truncated = not may_end
        return torch.full((1, 1), self.end_id, device=scores.device)
