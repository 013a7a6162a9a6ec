"""`Thinking`: how the models of a family mark the text that they think before an answer."""

from __future__ import annotations

from dataclasses import dataclass

from gmner.signatures.errors import InputError


@dataclass(frozen=True, slots=True)
class Thinking:
    r"""How the models of a family mark the text that they think before an answer.

    A thinking model writes `opening`, its thoughts and `closing`; the answer follows. The chat templates of many models
    write `opening` at the end of the prompt, so that the model cannot leave it out.

    Attributes:
        opening: The marker that opens the thoughts, in the answer or at the end of the generation prompt.
        closing: The marker that closes them.
        switch: The variable of the chat template that switches thinking off when it is false; ignored by templates that
            do not use it. None: the templates have none.
        default: Whether the models think if the variable is not given. False: only some of them do.
        after_opening: What follows `opening`.
        around_closing: What stands before and after `closing` where thinking is closed for the model. An empty block is
            `opening + after_opening + around_closing[0] + closing + around_closing[1]`, as in the templates of Qwen3:
            `<think>\n\n</think>\n\n`.

    Raises:
        InputError: A marker is empty.
    """

    opening: str = "<think>"
    closing: str = "</think>"
    switch: str | None = "enable_thinking"
    default: bool = True
    after_opening: str = "\n"
    around_closing: tuple[str, str] = ("\n", "\n\n")

    def __post_init__(self) -> None:
        """Check the markers."""
        if not self.opening or not self.closing:
            raise InputError("The markers of thinking must not be empty", received=(self.opening, self.closing))

    @property
    def opener(self) -> str:
        """The text that opens a block."""
        return self.opening + self.after_opening

    @property
    def closer(self) -> str:
        """The text that closes a block."""
        return self.closing.join(self.around_closing)

    @property
    def empty(self) -> str:
        """A block without thoughts, with which a thinking model answers at once."""
        return self.opener + self.closer


THINK = Thinking()
"""Qwen3-VL-Thinking, Qwen3.5, MiMo-VL, GLM-4.1V to 4.6V, MiniCPM-V 4.5: `<think>` and `</think>`."""

KIMI = Thinking("◁think▷", "◁/think▷", switch=None, default=False, after_opening="", around_closing=("", ""))
"""Kimi-VL-Thinking; its chat template has no switch."""

GEMMA = Thinking("<|channel>thought\n", "<channel|>", default=False, after_opening="", around_closing=("", ""))
"""Gemma 4: its thoughts are a channel of their own."""

MISTRAL = Thinking("[THINK]", "[/THINK]", switch=None, default=False, after_opening="", around_closing=("", ""))
"""Magistral Small 1.2 and Ministral 3 Reasoning; their chat templates have no switch."""

KNOWN = (THINK, KIMI, GEMMA, MISTRAL)
"""The markers that are looked for in a chat template, in order."""


def thinking_in(template: str, family: Thinking | None = None) -> Thinking | None:
    """The markers of thinking that occur in a chat template.

    Args:
        template: The chat template.
        family: The markers of the model's family, which are tried first; a template with a switch that the family does
            not have is that of another of its models.

    Returns:
        The markers; None: the template does not mention thinking. The model then does not think, or it writes the
        markers without its template.
    """
    tried = KNOWN if family is None else (family, *KNOWN)
    found = [one for one in tried if one.opening.strip() in template or one.closing in template]
    switched = [one for one in found if one.switch is not None and one.switch in template]
    return next(iter([*switched, *found]), None)


def split_thinking(text: str) -> tuple[str, str]:
    """Split the thoughts from the text of a server that has no reasoning parser.

    Args:
        text: The content of the server's answer. Text that begins as a JSON object is an answer, in which the markers
            are data.

    Returns:
        The thoughts (empty if there are none) and the answer. Both are without the markers.
    """
    if text.lstrip().startswith("{"):
        return "", text
    for one in sorted(
        KNOWN, key=lambda known: text.find(known.closing) % (len(text) + 1)
    ):  # the first marker in the text
        before, marker, after = text.partition(one.closing)
        if marker or text.lstrip().startswith(one.opening.strip()):
            return before.strip().removeprefix(one.opening.strip()).strip(), after
    return "", text
