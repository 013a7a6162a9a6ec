"""The logits processor of a batch whose rows have grammars, sampling and lengths of their own.

It draws each row's token itself, so that rows with different temperatures and seeds share a batch: after it only the
drawn token is possible, and a greedy loop takes it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from transformers import LogitsProcessor, TopKLogitsWarper, TopPLogitsWarper

from gmner.programs.engine.batching import Abandoned, awaited
from gmner.programs.engine.grammar import Grammar, Mask, RowMasks


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


@dataclass(slots=True, eq=False)
class SamplerRow:
    """The state of one row while it is generated.

    Attributes:
        grammar: The row's grammar; None: free text.
        limit: Most tokens of the answer, the end token not counted.
        sampling: How tokens are drawn.
        logprobs: Gets the logarithm of each token's probability among those that the grammar allows, at temperature 1;
            None: nobody asks.
        abandoned: Says that nobody waits for the answer any more; it ends at once.
        prompt_tokens: Tokens of the prompt, those of pictures counted.
        written: The answer so far, without the token that ends it.
        ended: Set when the answer has ended.
        truncated: Set when the limit came before the end.
    """

    grammar: Grammar | Mask | None
    limit: int
    sampling: Sampling
    logprobs: list[float] | None = None
    abandoned: Abandoned = awaited
    prompt_tokens: int = 0
    written: list[int] = field(default_factory=list)
    ended: bool = False
    truncated: bool = False
    _generator: torch.Generator | None = field(default=None, repr=False)

    def draw(self, scores: torch.Tensor) -> torch.Tensor:
        """The next token of a row at its temperature, scores (1, vocabulary) -> (1, 1)."""
        scores = scores / self.sampling.temperature
        for warper in self.sampling.warpers():
            scores = warper(None, scores)
        return torch.multinomial(scores.softmax(-1), 1, generator=self._seeded(scores.device))

    def _seeded(self, device: torch.device) -> torch.Generator | None:
        if self.sampling.seed is not None and self._generator is None:
            self._generator = torch.Generator(device).manual_seed(self.sampling.seed)
        return self._generator


class ConstrainedSampler(LogitsProcessor):
    """The logits processor of a batch whose rows have grammars of their own; rows leave and join.

    Args:
        rows: One a row of the batch, used for this batch only.
        end_ids: Ids that end an answer.
        end_id: The id written to end an answer.
        never: Ids that no answer has.

    Attributes:
        rows: The rows of the batch.
    """

    def __init__(
        self, rows: Sequence[SamplerRow], end_ids: Sequence[int], end_id: int, never: Sequence[int] = ()
    ) -> None:
        self.rows, self.end_ids, self.end_id, self.never = list(rows), frozenset(end_ids), end_id, list(never)
        self._mask = RowMasks([row.grammar for row in rows])

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Mask and draw: ids (rows, length), scores (rows, vocabulary) -> scores with one finite value a row."""
        tokens = self.draw(input_ids, scores)
        return torch.full_like(scores, float("-inf")).scatter_(1, tokens[:, None], 0.0)

    def draw(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """The next token of each row: ids (rows, length), scores (rows, vocabulary), which are masked -> (rows,)."""
        scores[:, self.never] = float("-inf")
        scores = self._mask(input_ids, scores)
        tokens = scores.argmax(-1)
        for place, row in enumerate(self.rows):
            self._draw(place, row, scores[place : place + 1], tokens)
        for place, token in enumerate(tokens.tolist()):
            if token not in self.end_ids:
                self.rows[place].written.append(token)
            elif not self.rows[place].ended:
                self.rows[place].ended = True
                self._mask.end(place)
        return tokens

    def keep(self, places: Sequence[int]) -> None:
        """Only these rows stay in the batch, in this order."""
        self.rows = [self.rows[place] for place in places]
        self._mask.keep(places)

    def join(self, rows: Sequence[SamplerRow]) -> None:
        """Further rows, after the others."""
        self.rows += rows
        self._mask.join([row.grammar for row in rows])

    def _draw(self, place: int, row: SamplerRow, scores: torch.Tensor, tokens: torch.Tensor) -> None:
        """Put a row's token, scores (1, vocabulary), where it is not the most likely one; note what was asked for."""
        if row.ended:  # it has not left the batch yet
            tokens[place] = self.end_id
        elif len(row.written) >= row.limit or row.abandoned():
            may_end = row.grammar is not None and bool(scores[0, self.end_id] > float("-inf"))
            row.truncated = not may_end
            tokens[place] = self.end_id
        else:
            if row.sampling.temperature > 0:
                tokens[place] = row.draw(scores)[0, 0]
            if row.logprobs is not None:
                row.logprobs.append(float(scores[0].float().log_softmax(-1)[tokens[place]]))
