"""`ConstrainedSampler`: a logits processor with a grammar, sampling settings and a length limit for each row.

The processor samples each row's token itself, because `generate` has one temperature and one random generator for the
whole batch. It leaves one finite score a row, which a greedy loop then picks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from transformers import LogitsProcessor, TopKLogitsWarper, TopPLogitsWarper

from gmner.programs.engine.batching import Abandoned, awaited
from gmner.programs.engine.grammar import Grammar, Mask, RowMasks
from gmner.programs.engine.thought import Thought


@dataclass(frozen=True, slots=True)
class Sampling:
    """Sampling settings of a row.

    Args:
        temperature: Softmax temperature; 0: greedy.
        top_p: Nucleus sampling: keep the smallest set of tokens whose probability reaches this value.
        top_k: Keep this many tokens; 0: all.
        seed: Seed of the row's own random generator, so that its answer does not depend on the other rows.
    """

    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    seed: int | None = None

    def warpers(self) -> list[LogitsProcessor]:
        """Transformers' own warpers for these settings."""
        warpers: list[LogitsProcessor] = []
        if self.top_k > 0:
            warpers.append(TopKLogitsWarper(self.top_k))
        if self.top_p < 1.0:
            warpers.append(TopPLogitsWarper(self.top_p))
        return warpers


@dataclass(slots=True, eq=False)
class SamplerRow:
    """The state of one row while it is generated.

    Attributes:
        grammar: The row's grammar; None: free text.
        limit: Most tokens of the answer, the end token not counted.
        sampling: How tokens are drawn.
        logprobs: Collects the log probability of each token at temperature 1, normalised over the tokens that the
            grammar allows; None: not collected.
        abandoned: Returns whether the caller has given up; the answer then ends at the next token.
        prompt_tokens: Length of the prompt in tokens, image tokens included.
        thought: The thinking before the answer; None: the answer begins at once.
        written: The token ids of the answer so far, without the end token.
        ended: Whether the answer has ended.
        truncated: Whether it ended at the limit before it was complete.
    """

    grammar: Grammar | Mask | None
    limit: int
    sampling: Sampling
    logprobs: list[float] | None = None
    abandoned: Abandoned = awaited
    prompt_tokens: int = 0
    thought: Thought | None = None
    written: list[int] = field(default_factory=list)
    ended: bool = False
    truncated: bool = False
    _generator: torch.Generator | None = field(default=None, repr=False)

    @property
    def thinking(self) -> bool:
        """Whether the answer has not begun, because the model still thinks."""
        return self.thought is not None and not self.thought.closed

    @property
    def full(self) -> bool:
        """Whether the answer has as many tokens as allowed, so that the next one ends it."""
        return len(self.written) >= self.limit

    @property
    def length(self) -> int:
        """Length of prompt, thinking and answer so far in tokens."""
        return self.prompt_tokens + len(self.written) + (0 if self.thought is None else len(self.thought.ids))

    def draw(self, scores: torch.Tensor) -> torch.Tensor:
        """Sample the next token: scores (1, vocabulary) -> (1, 1)."""
        scores = scores / self.sampling.temperature
        for warper in self.sampling.warpers():
            scores = warper(None, scores)
        return torch.multinomial(scores.softmax(-1), 1, generator=self._seeded(scores.device))

    def _seeded(self, device: torch.device) -> torch.Generator | None:
        if self.sampling.seed is not None and self._generator is None:
            self._generator = torch.Generator(device).manual_seed(self.sampling.seed)
        return self._generator


class ConstrainedSampler(LogitsProcessor):
    """Masks and samples the next token of each row; rows can be removed and added between steps.

    Args:
        rows: One state a row of the batch; not to be shared with another batch.
        end_ids: Token ids that end an answer.
        end_id: The end token that is written when an answer is cut off.
        never: Token ids that are always masked.

    Attributes:
        rows: The rows of the batch.
    """

    def __init__(
        self, rows: Sequence[SamplerRow], end_ids: Sequence[int], end_id: int, never: Sequence[int] = ()
    ) -> None:
        self.rows, self.end_ids, self.end_id, self.never = list(rows), frozenset(end_ids), end_id, list(never)
        self._mask = RowMasks([])
        self._mask.join([row.grammar for row in rows], [row.thinking for row in rows])

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Mask and draw: ids (rows, length), scores (rows, vocabulary) -> scores with one finite value a row."""
        tokens = self.draw(input_ids, scores)
        return torch.full_like(scores, float("-inf")).scatter_(1, tokens[:, None], 0.0)

    def draw(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Mask `scores` (rows, vocabulary) in place and choose the next tokens: ids (rows, length) -> (rows,)."""
        scores[:, self.never] = float("-inf")
        scores = self._mask(input_ids, scores)
        tokens = scores.argmax(-1)
        thinking = [row.thinking and not row.ended for row in self.rows]
        for place, row in enumerate(self.rows):
            self._draw(place, row, scores[place : place + 1], tokens)
        for place, token in enumerate(tokens.tolist()):
            if thinking[place] and token not in self.end_ids:
                continue
            if token not in self.end_ids:
                self.rows[place].written.append(token)
            elif not self.rows[place].ended:
                self.rows[place].ended = True
                # The row may stay in the batch for some steps, and its grammar would refuse the tokens after its end.
                self._mask.end(place)
        return tokens

    def keep(self, places: Sequence[int]) -> None:
        """Keep these rows, in this order, and remove the others."""
        self.rows = [self.rows[place] for place in places]
        self._mask.keep(places)

    def join(self, rows: Sequence[SamplerRow]) -> None:
        """Append rows."""
        self.rows += rows
        self._mask.join([row.grammar for row in rows], [row.thinking for row in rows])

    def _draw(self, place: int, row: SamplerRow, scores: torch.Tensor, tokens: torch.Tensor) -> None:
        """Replace a row's greedy token where it is sampled or cut off; scores (1, vocabulary)."""
        if row.ended:  # not removed from the batch yet
            tokens[place] = self.end_id
        elif row.full or row.abandoned():
            # An answer at its limit is still complete if its grammar allows the end here. Free text never tells.
            may_end = row.grammar is not None and not row.thinking and bool(scores[0, self.end_id] > float("-inf"))
            row.truncated = not may_end
            tokens[place] = self.end_id
        else:
            if row.sampling.temperature > 0:
                tokens[place] = row.draw(scores)[0, 0]
            if row.thought is not None and row.thinking:
                tokens[place] = row.thought.next(int(tokens[place]), self.end_ids)
                if row.thought.closed:
                    self._mask.begin(place)
            elif row.logprobs is not None:
                # From the masked scores before temperature and warpers, so that settings do not change a confidence.
                row.logprobs.append(float(scores[0].float().log_softmax(-1)[tokens[place]]))
