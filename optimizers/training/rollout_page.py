"""The page of the answers that CVO samples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from gmner.data.files.atomic import whole_text
from gmner.data.pages.answers_page import render_html
from gmner.data.post import Post
from gmner.data.prediction import Prediction
from gmner.optimizers.rewards.staged_calls import call_title, whole_answer
from gmner.optimizers.training.program_calls import post_inputs
from gmner.optimizers.training.rollouts import PAGE, Rollout, read_rollouts
from gmner.programs.adapter import PromptAdapter
from gmner.signatures.errors import AnswerError, ImageError
from gmner.signatures.forms import Request
from gmner.signatures.wire import parse_task_answer


def write_rollout_page(folder: Path, posts: Mapping[str, Post], adapter: PromptAdapter, steps: int = 2) -> Path:
    """Write `rollouts.html` into a stage's folder: the answers of the first and the last steps.

    Each post of a step has a card with its answers, those with the highest advantage first, each with its rewards. A
    filter selects the step.

    Args:
        folder: The folder of the stage `cvo` in a run directory.
        posts: The posts of D2 by id.
        adapter: The adapter of the program that was trained.
        steps: Number of steps at the beginning, and at the end.

    Returns:
        The path of the page.

    Raises:
        InputError: The folder has no rollouts.
    """
    groups: dict[tuple[int, str, str], list[Rollout]] = {}
    for rollout in read_rollouts(folder):
        groups.setdefault((rollout.step, rollout.post_id, rollout.call), []).append(rollout)
    every = sorted({step for step, _, _ in groups})
    kept = {*every[:steps], *every[-steps:]}
    shown = [(step, posts[post_id], sampled) for (step, post_id, _), sampled in groups.items() if step in kept]
    answers = [_answers(post, sampled, adapter) for _, post, sampled in shown]
    pairs = [
        (replace(post, slice=f"{step}"), {name: answer for name, (answer, _) in found.items()})
        for (step, post, _), found in zip(shown, answers, strict=True)
    ]
    notes = [{name: note for name, (_, note) in found.items()} for found in answers]
    page = folder / PAGE
    with whole_text(page) as file:
        file.write(render_html(pairs, title="What CVO sampled", notes=notes, slices_are="step"))
    return page


def _answers(post: Post, sampled: Sequence[Rollout], adapter: PromptAdapter) -> dict[str, tuple[Prediction, str]]:
    """The answers to one post with their rewards as text, those with the highest advantage first."""
    try:
        request: Request | ImageError = adapter.request(post_inputs(post))
    except ImageError as error:  # it was removed during the training, whose result counts more than its page
        request = error
    answers = {}
    for place, rollout in enumerate(sorted(sampled, key=lambda rollout: rollout.rank), 1):
        name = f"{call_title(rollout.call)}, answer {place}" if rollout.call else f"answer {place}"
        answers[name] = _prediction(post, rollout, request), rollout.rewards_text
    return answers


def _prediction(post: Post, rollout: Rollout, request: Request | ImageError) -> Prediction:
    """The answer of a rollout; for a call of a staged program with the text of the call as its reasoning.

    Args:
        post: The post.
        rollout: The sampled answer.
        request: What the answer is parsed with, or why the images of the post cannot be opened.
    """
    call, text = rollout.call, rollout.text
    if isinstance(request, ImageError):
        return Prediction.failed(post.id, post.text, request)
    try:
        whole = (whole_answer(text, call, post.text, request.labels) or text) if call else text
        answer = parse_task_answer(post.task, whole, post.text, request.labels, request.frame)
    except AnswerError as error:
        return Prediction.failed(post.id, post.text, error)
    return Prediction(post.id, post.text, text if call else answer.reasoning, tuple(answer.entities))
