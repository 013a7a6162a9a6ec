"""`Thinking`: how the models of a family write their thoughts before an answer, and how this is switched off."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Thinking:
    """How the models of a family think before they answer.

    Attributes:
        opening: The text that opens the thoughts, in the answer or at the end of the generation prompt.
        closing: The text that closes them; the answer follows.
        switch: The argument of the chat template that switches thinking off when it is false. None: the template has
            none, so that thinking cannot be switched off.
        default: Whether the models think if the argument is not given.
    """

    opening: str = "<think>"
    closing: str = "</think>"
    switch: str | None = "enable_thinking"
    default: bool = True
