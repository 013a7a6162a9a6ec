"""Styles that a model writes: it rewrites the chain of a template, which is checked against the gold annotation."""

from __future__ import annotations

import copy
import random
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import dspy
from dspy.utils.exceptions import AdapterParseError

from gmner.data.images.opening import open_image
from gmner.optimizers.chains.checker import check_chain
from gmner.optimizers.chains.styles import stepwise
from gmner.optimizers.chains.styles.facts import Draft, Facts, Style, allowed_signs, draft_chain
from gmner.programs.error_causes import own_error
from gmner.programs.prompt_images import picture_inputs
from gmner.programs.seams.dspy_seams import requested_trace
from gmner.programs.server_lm import logging_retries
from gmner.signatures.errors import AnswerError, InputError

_MORE = "more_images"
_SEVERAL = "The post has several pictures. Name the picture of every box as the draft does: [x1,y1,x2,y2] of picture 2."
_NAMES_ALONE = (
    "Keep to the facts of the draft. Write every name verbatim with its type in brackets: Name (TYPE). Do not say "
    "whether a picture shows a name. Call nothing else an entity. Use no quotation marks. If there is a complaint, "
    "mend what it names."
)
_EXPRESSION = (
    "The text is an expression that means something in the picture. Keep to the facts of the draft. Write the "
    "expression verbatim. Say that it is shown at [x1,y1,x2,y2], with all boxes of the draft and their numbers, or "
    "that it is not shown. Use no quotation marks. If there is a complaint, mend what it names."
)
_KEEPS: ContextVar[bool] = ContextVar("keeps history", default=False)  # its entries keep the images in memory


@contextmanager
def asking_with_history() -> Iterator[None]:
    """In this block, the history of an LM that writes chains has its calls, with their tokens and cost."""
    token = _KEEPS.set(True)
    try:
        yield
    finally:
        _KEEPS.reset(token)


class RewriteChain(dspy.Signature):
    """Rewrite a chain of reasoning about a post in your own words, three to six sentences.

    Keep to the facts of the draft. Write every name verbatim with its type in brackets: Name (TYPE). Say of each name
    that it is shown at [x1,y1,x2,y2], with the numbers of the draft, or that it is not shown. Call nothing else an
    entity. Use no quotation marks. If there is a complaint, mend what it names.
    """

    text: str = dspy.InputField(desc="the text of the post")
    draft: str = dspy.InputField(desc="the chain to rewrite; everything in it is true")
    complaint: str = dspy.InputField(desc="what was wrong with the last attempt; empty at first")
    chain: str = dspy.OutputField(desc="the chain in your own words")


class DescribeChain(dspy.Signature):
    """Rewrite a chain of reasoning about a post and its picture in your own words, four to eight sentences.

    First describe what you see in the picture that helps to decide. Then keep to the facts of the draft. Write every
    name verbatim with its type in brackets: Name (TYPE). Say of each name that it is shown at [x1,y1,x2,y2], with the
    numbers of the draft, or that it is not shown. Call nothing else an entity. Use no quotation marks. If there is a
    complaint, mend what it names.
    """

    text: str = dspy.InputField(desc="the text of the post")
    image: dspy.Image | None = dspy.InputField(desc="the picture of the post")
    draft: str = dspy.InputField(desc="the chain to rewrite; everything in it is true")
    complaint: str = dspy.InputField(desc="what was wrong with the last attempt; empty at first")
    chain: str = dspy.OutputField(desc="the chain in your own words")


class LLMStyle:
    """A style in which a language model rewrites a template's chain.

    Each chain is checked against the gold annotation. If it fails, the model is called again with the reason. After the
    last attempt, the template's chain is used, and `Draft.problem` says why.

    Args:
        lm: Any `dspy.LM`. None: the teacher of the compile.
        template: The style whose chain is rewritten.
        attempts: Maximum number of calls per chain.

    Attributes:
        task: The signature of the request.
        opening: What replaces the first sentences of its instructions for posts of the related tasks; rules for what
            their chains may say follow.

    Raises:
        InputError: Fewer than one attempt.

    Source: MCR (Ma et al., Findings of ACL 2026), section on MRSI: chains are made by a template, an LLM or an MLLM.
        Prompt and check are ours.
    """

    author = "llm"
    task: type[dspy.Signature] = RewriteChain
    opening = "Rewrite a chain of reasoning about a post in your own words, three to six sentences."

    def __init__(self, lm: dspy.BaseLM | None = None, *, template: Style = stepwise.render, attempts: int = 2) -> None:
        if attempts < 1:
            raise InputError("attempts must be at least 1", received=attempts, accepted="1 or more")
        self.lm, self.template, self.attempts = lm, template, attempts

    def taught_by(self, teacher: dspy.BaseLM | None) -> LLMStyle:
        """This style with an LM: its own, or else the teacher's.

        Raises:
            InputError: The style has no LM, and there is no teacher.
        """
        lm = self.lm or teacher
        if lm is None:
            raise InputError(f"{type(self).__name__} has no LM", remedy="Pass lm=, or pass a teacher to the compile")
        taught = copy.copy(self)
        taught.lm = lm
        return taught

    def __call__(self, facts: Facts, rng: random.Random) -> Draft:
        """Call the model until its chain passes the check; fall back on the template after the last attempt."""
        template = draft_chain(self.template, facts, rng).text
        complaint = ""
        for _ in range(self.attempts):
            try:
                text = allowed_signs(self._ask(facts, template, complaint))
            except Exception as error:
                if not _is_bad_answer(error):
                    raise
                complaint = f"form: the answer had not the form asked for ({type(error).__name__})"
                continue
            problems = check_chain(text, facts) if text else []
            if text and not problems:
                return Draft(text, self.author)
            complaint = "; ".join(f"{problem.kind}: {problem.message}" for problem in problems)
            complaint = complaint or "empty: there is no chain"
        return Draft(template, problem=complaint)

    def _ask(self, facts: Facts, template: str, complaint: str) -> str:
        kept = {"trace": requested_trace(), "disable_history": not _KEEPS.get()}
        with dspy.context(lm=logging_retries(self.taught_by(None).lm), adapter=dspy.ChatAdapter(), **kept):
            answer = dspy.Predict(self._task(facts))(draft=template, complaint=complaint, **self._inputs(facts))
        return str(answer.chain or "")

    def _task(self, facts: Facts) -> type[dspy.Signature]:
        """The signature for a post; if it has several images, it asks for the image of each box."""
        task = self.task
        if facts.task != "gmner":
            rules = _NAMES_ALONE if facts.task == "mner" else _EXPRESSION
            task = task.with_instructions(f"{self.opening}\n\n{rules}")
        several = facts.frame.several and facts.task != "mner"
        return task.with_instructions(f"{task.instructions}\n\n{_SEVERAL}") if several else task

    def _inputs(self, facts: Facts) -> dict[str, object]:
        return {"text": facts.text}


def _is_bad_answer(error: Exception) -> bool:
    """Whether the error is about the model's answer, and not for example about an outage of the server."""
    return isinstance(error, AdapterParseError) or isinstance(own_error(error), AnswerError)


class MLLMStyle(LLMStyle):
    """A style in which a vision-language model rewrites a template's chain and adds what it sees; see `LLMStyle`."""

    author = "mllm"
    task = DescribeChain
    opening = (
        "Rewrite a chain of reasoning about a post and its picture in your own words, four to eight sentences. First "
        "describe what you see in the picture that helps to decide."
    )

    def _inputs(self, facts: Facts) -> dict[str, object]:
        images = [image for image in (facts.image, *facts.more_images) if image is not None]
        return {"text": facts.text, **picture_inputs([dspy.Image(open_image(image)) for image in images])}

    def _task(self, facts: Facts) -> type[dspy.Signature]:
        task = super()._task(facts)
        if not facts.more_images:
            return task
        field = dspy.InputField(desc="further pictures of the post, in order, from picture 2")
        return task.insert(2, _MORE, field, list[dspy.Image])
