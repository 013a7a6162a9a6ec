"""`Thought`: the thinking of a row before its answer, with a limit of tokens.

While a row thinks, its grammar waits. The thinking ends with its end marker. It is closed for the model at the limit,
and where the model would end its turn without an answer.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from transformers import PreTrainedTokenizerBase

from gmner.programs.models.families import Thinking


class ThinkingRules:
    """When the thinking of a model ends.

    Args:
        tokenizer: The model's tokenizer.
        markers: The model's markers.
        limit: Tokens of thinking after which it is closed.

    Attributes:
        limit: As passed.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, markers: Thinking, limit: int) -> None:
        self._tokenizer, self._markers, self.limit = tokenizer, markers, limit
        self._tail = len(markers.closing.encode())  # a token has at least one byte
        self.closer = self.encode(markers.closer)

    @property
    def closing(self) -> str:
        """The marker that ends the thinking."""
        return self._markers.closing

    @property
    def most(self) -> int:
        """Largest number of tokens of thinking, with the tokens that close it."""
        return self.limit + len(self.closer)

    def encode(self, text: str) -> list[int]:
        """The token ids of a text."""
        return self._tokenizer.encode(text, add_special_tokens=False)

    def decode(self, ids: Sequence[int]) -> str:
        """The text of token ids, markers included."""
        return self._tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False)

    def ending(self, ids: Sequence[int], drawn: int) -> list[int] | None:
        """What to write if a drawn token completes the end marker; None: it does not.

        This is the token itself and what follows the marker in the model's chats. A token that also contains the
        beginning of the answer is replaced, because the grammar starts behind the marker.

        Args:
            ids: The thinking so far.
            drawn: The token that the model would write.
        """
        tail = list(ids[-self._tail :])
        before, text = self.decode(tail), self.decode([*tail, drawn])
        place = text.rfind(self._markers.closing)
        if place < 0 or place + len(self._markers.closing) <= len(before):
            return None
        stop = place + len(self._markers.closing)
        rest, after = text[stop:], self._markers.around_closing[1]
        if not rest.strip():
            return [drawn, *(self.encode(after.removeprefix(rest)) if after.startswith(rest) else [])]
        shared = next((n for n, (a, b) in enumerate(zip(before, text, strict=False)) if a != b), len(before))
        return self.encode(text[shared:stop] + after)

    def text(self, ids: Sequence[int]) -> str:
        """The thoughts, without the end marker and surrounding white space."""
        text = self.decode(ids)
        place = text.rfind(self._markers.closing)
        return (text if place < 0 else text[:place]).strip()


@dataclass(slots=True, eq=False)
class Thought:
    """The thinking of one row.

    Attributes:
        rules: When it ends.
        ids: The token ids so far, with those of the end marker.
        closed: Whether the answer follows.
        cut: Whether it was closed at the limit.
    """

    rules: ThinkingRules
    ids: list[int] = field(default_factory=list)
    closed: bool = False
    cut: bool = False
    _forced: list[int] | None = None

    def next(self, drawn: int, end_ids: Collection[int]) -> int:
        """Record and return the next token of the thinking.

        Args:
            drawn: The token that the model would write.
            end_ids: Tokens that end its turn.
        """
        if self._forced is None:
            self._forced = self._ending(drawn, end_ids)
        token = drawn if self._forced is None else self._forced.pop(0)
        self.ids.append(token)
        self.closed = self._forced == []
        return token

    def _ending(self, drawn: int, end_ids: Collection[int]) -> list[int] | None:
        """The tokens that end the thinking now; None: it goes on."""
        if drawn in end_ids:
            return list(self.rules.closer)
        ending = self.rules.ending(self.ids, drawn)
        self.cut = ending is None and len(self.ids) >= self.rules.limit
        return list(self.rules.closer) if self.cut else ending

    @property
    def text(self) -> str:
        """The thoughts."""
        return self.rules.text(self.ids)
