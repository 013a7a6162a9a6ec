"""`Plan`: what a compile would do and cost, estimated from a few measured steps whose results are discarded."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from operator import attrgetter
from pathlib import Path
from typing import Any

import dspy
import torch
from tqdm import tqdm

from gmner.data.post import Post
from gmner.optimizers.chains.split import check_split, split_posts
from gmner.optimizers.chains.styles.model_written import LLMStyle
from gmner.optimizers.compile_settings import CompileSettings
from gmner.optimizers.cvo import CVO
from gmner.optimizers.mixture import drawn
from gmner.optimizers.mrsi import MRSI
from gmner.optimizers.request_plan import SENT, RequestPlan, request_plans
from gmner.optimizers.reward_set import describe_weights
from gmner.optimizers.training import trainable as training
from gmner.optimizers.training.process_group import ProcessGroup
from gmner.optimizers.training.rows import fitting_posts, program_rows
from gmner.programs.engine.vlm_engine import VLMEngine
from gmner.programs.peak_memory import process_peak
from gmner.programs.trainable import Trainable

_MEASURED = 2
_LOGGED: Mapping[str, Any] = {"logging_steps": 1, "lr_scheduler_type": "constant", "lr_scheduler_kwargs": None}
"""Options of TRL for the measured steps: each is logged, with the peak learning rate."""


@dataclass(frozen=True, slots=True)
class StagePlan:
    """One stage of a compile.

    Attributes:
        name: `mrsi` or `cvo`.
        posts: Number of posts that it learns from.
        samples: Number of training rows or sampled answers over the whole stage.
        steps: Optimizer steps.
        rate: Peak learning rate, which depends on the model if the settings do not state it.
        tokens: Tokens read and written, estimated from the measured steps.
        seconds: Time, estimated from the measured steps.
    """

    name: str
    posts: int
    samples: int
    steps: int
    rate: float
    tokens: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Plan:
    """What a compile would do.

    Attributes:
        stages: The training stages in order; empty if the weights are not accessible.
        requests: The requests to LMs: for chains that they write, and for the answers of a student on a server.
        memory: Peak memory of the measured steps in bytes, of the GPU or, without one, of this process.
        rewards: Weight of each reward of CVO by name; empty without CVO.
        seconds: Time of all stages, without scoring on a validation set and without the teacher.
    """

    stages: tuple[StagePlan, ...]
    memory: int
    rewards: Mapping[str, float] = field(default_factory=dict)
    requests: tuple[RequestPlan, ...] = ()

    @property
    def seconds(self) -> float:
        """Estimated time of all stages."""
        return sum(stage.seconds for stage in self.stages)

    def __str__(self) -> str:
        """Tables of the stages and of the requests, with their totals."""
        lines = list[str]()
        if self.stages:
            rows: list[tuple[str, ...]] = [("stage", "posts", "samples", "steps", "rate", "tokens", "time")]
            for s in self.stages:
                counts = (f"{number:,}" for number in (s.posts, s.samples, s.steps))
                rows.append((s.name, *counts, f"{s.rate:g}", f"{s.tokens:,}", _time(s.seconds)))
            lines += _table(rows)
            where, memory = "GPU" if torch.cuda.is_available() else "process", f"{self.memory / 2**30:.1f} GiB"
            lines.append(f"memory of the {where}: {memory}; time of the stages: {_time(self.seconds)}")
        if self.rewards:
            lines.append(f"rewards: {describe_weights(self.rewards)}")
        if self.requests:
            rows = [("requests", "number", "tokens in", "tokens out", "cost")]
            for r in self.requests:
                tokens = (f"{number:,}" if number else "not reported" for number in (r.tokens_in, r.tokens_out))
                cost = "price not known" if r.cost is None else f"$ {r.cost:,.2f}"
                rows.append((f"{r.purpose} of {r.model}", f"{r.requests:,}", *tokens, cost))
            lines += [*_table(rows), f"estimated from {SENT} posts of each row; time not included"]
        return "\n".join(lines or ["nothing to train and no requests to send"])


def _table(rows: Sequence[tuple[str, ...]]) -> list[str]:
    """Lines with the first column to the left and the others to the right."""
    first = max(8, *(len(row[0]) for row in rows))
    return ["".join([row[0].ljust(first), *(cell.rjust(16) for cell in row[1:])]) for row in rows]


def _time(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min {rest} s"


def plan(
    settings: CompileSettings,
    student: Trainable,
    train: Sequence[Post],
    val: Sequence[Post] | None = None,
    teacher: dspy.BaseLM | None = None,
) -> Plan:
    """Measure two steps of each stage on copies of the weights in a temporary folder, and a few requests to LMs.

    Args:
        settings: The settings of the compile.
        student: The program to compile.
        train: Annotated posts.
        val: Annotated posts on which the compile scores programs, or None.
        teacher: The LM of model-written styles that have none of their own.

    Returns:
        The plan. `SENT` chains are written in each model-written style, and a student on a server answers `SENT` posts;
        these requests are sent and cost money. The stages are measured with chains of templates. The prompt has the
        student's demonstrations, without those that MRSI would choose.

    Raises:
        InputError: A stage has no post, or the first posts of the validation set cannot be answered.
        dspy.LMError: A server does not answer.
    """
    engine = training.trainable_engine(student.model)
    train = fitting_posts(train, student, settings.longest_answer)
    first, second = list[Post](train), list(train)
    if engine is not None:
        if settings.mrsi is None:
            first = []
        else:
            share = 1.0 if settings.cvo is None or not settings.mrsi.trains else settings.d1_share
            first, second = split_posts(train, share, random.Random(settings.seed))
            second = second or list(train)
        injected = settings.mrsi is not None and settings.mrsi.trains
    weighed = partial(drawn, task_of=attrgetter("task"), weights=settings.task_weights, seed=settings.seed)
    rows, second = weighed(first), weighed(second)
    if engine is not None:
        check_split(rows, second, injected=injected, optimized=settings.cvo is not None)
    measured: list[tuple[str, Callable[[], StagePlan | RequestPlan]]] = []
    if engine is not None and settings.mrsi is not None and settings.mrsi.trains:
        measured.append(("mrsi", partial(_of_mrsi, settings.mrsi, student, engine, rows, settings.seed)))
    if engine is not None and settings.cvo is not None:
        measured.append(("cvo", partial(_of_cvo, settings.cvo, student, engine, second, settings.seed)))
    if ProcessGroup().first:
        measured += request_plans(settings, student, first, val, teacher, served=engine is None)
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    parts = list[StagePlan | RequestPlan]()
    with tqdm(total=len(measured), desc="dry run", disable=not settings.progress) as bar:
        for name, measure in measured:
            bar.set_postfix_str(name)
            parts.append(measure())
            bar.update()
    stages = tuple(part for part in parts if isinstance(part, StagePlan))
    requests = tuple(part for part in parts if isinstance(part, RequestPlan))
    rewards = {} if engine is None or settings.cvo is None else settings.cvo.reward_set.weights
    return Plan(stages, _memory(), rewards, requests)


def _of_mrsi(mrsi: MRSI, student: Trainable, engine: VLMEngine, posts: Sequence[Post], seed: int) -> StagePlan:
    styles = {n: s.template if isinstance(s, LLMStyle) else s for n, s in mrsi.style_set.items()}
    measured = posts[: _MEASURED * mrsi.batch]
    adapter = student.adapter()
    chains = replace(mrsi, styles=styles).chains(measured, adapter, random.Random(seed))
    lessons = mrsi.lessons(chains, student)
    rows = program_rows(student, lessons, {post.id: post for post in measured}, adapter, student.demonstrations)
    options = {**mrsi.sft_options, **_LOGGED}
    with tempfile.TemporaryDirectory(prefix="gmner-plan-") as folder:
        log = replace(mrsi, max_steps=_MEASURED, sft_options=options).inject(
            rows, engine, Path(folder), seed=seed, progress=False
        )
    # A chain makes one row, two if its answer is also trained alone, or one per call of a staged program.
    steps = mrsi.steps(round(len(posts) * mrsi.chains_per_post * len(rows) / len(chains)))
    return _scaled("mrsi", log, posts=len(posts), samples=steps * mrsi.batch, steps=steps)


def _of_cvo(cvo: CVO, student: Trainable, engine: VLMEngine, posts: Sequence[Post], seed: int) -> StagePlan:
    adapter = student.adapter()
    measured = posts[: _MEASURED * cvo.prompts]

    def keep(answer: Callable[..., list[Any]], asked: Sequence[Post] = measured) -> list[Any]:
        return answer(asked, progress=False)

    calls = student.rollout_calls(measured, student.demonstrations, keep)
    rows = cvo.rows(calls[: _MEASURED * cvo.prompts], adapter)
    short = replace(cvo, max_steps=_MEASURED, grpo_options={**cvo.grpo_options, **_LOGGED})
    with tempfile.TemporaryDirectory(prefix="gmner-plan-") as folder:
        log = short.optimize(rows, engine, adapter, Path(folder), seed=seed, progress=False)
    expected_calls = round(len(posts) * len(calls) / len(measured))
    steps = cvo.steps(expected_calls)
    samples = steps * min(cvo.prompts, expected_calls) * cvo.generations
    return _scaled("cvo", log, posts=len(posts), samples=samples, steps=steps)


def _scaled(name: str, log: Sequence[dict[str, Any]], *, posts: int, samples: int, steps: int) -> StagePlan:
    """The plan of the whole stage, scaled up from TRL's log of the measured steps."""
    seconds = next(entry["train_runtime"] for entry in log if "train_runtime" in entry)
    tokens = max((entry["num_tokens"] for entry in log if "num_tokens" in entry), default=0)
    rate = next(entry["learning_rate"] for entry in log if "learning_rate" in entry)
    share = steps / _MEASURED
    return StagePlan(name, posts, samples, steps, rate, round(tokens * share), seconds * share)


def _memory() -> int:
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    return process_peak()
