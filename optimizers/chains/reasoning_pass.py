"""The pass that makes D_R for a compile: read back, taken from an earlier one, or written chain by chain."""

from __future__ import annotations

import logging
import random
from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import dspy

from gmner.data.post import Post
from gmner.optimizers.chains.chain_log import ChainLog
from gmner.optimizers.chains.reasoning_origin import Origin
from gmner.optimizers.chains.reasoning_set import ReasoningSet
from gmner.optimizers.chains.split import split_posts
from gmner.optimizers.mrsi import MRSI
from gmner.optimizers.run_directory import RunDirectory
from gmner.optimizers.training.rows import check_rows_fit
from gmner.programs.adapter import PromptAdapter
from gmner.programs.trainable import Trainable
from gmner.signatures.errors import InputError

LOG = logging.getLogger(__name__)
STAGE = "chains"


def reasoning_pass(
    mrsi: MRSI,
    posts: Sequence[Post],
    share: float,
    adapter: PromptAdapter,
    run: RunDirectory,
    *,
    seed: int,
    teacher: dspy.BaseLM | None = None,
    progress: bool = True,
) -> ReasoningSet:
    """D_R of a compile, in the stage folder `chains` of its run directory.

    Chains are kept as they are written: a pass that was killed goes on where it was.

    Args:
        mrsi: The settings; with `chains_from` the set that lies there is used as it is.
        posts: Annotated posts that the model can be trained on.
        share: D1's share of the posts.
        adapter: The adapter of the program that will learn.
        run: The run directory.
        seed: Seed of split, styles and wording.
        teacher: The LM of model-written styles that have none of their own.
        progress: Show a progress bar.

    Raises:
        InputError: A set made for another model or other posts, or a model-written style without an LM.
        DataError: A set that cannot be read.
    """
    if run.done(STAGE):
        return ReasoningSet.load(run.stage(STAGE))
    if mrsi.chains_from is not None:
        made = _given(mrsi.chains_from, posts, adapter)
    else:
        made = _written(mrsi, posts, share, adapter, run, seed=seed, teacher=teacher, progress=progress)
    made.save(run.stage(STAGE), posts)
    counts = made.counts(posts)
    if counts.fallbacks:
        reasons = ", ".join(f"{reason} {count}" for reason, count in counts.problems.items())
        LOG.warning("%d of %d chains stand in for another: %s", counts.fallbacks, counts.chains, reasons)
    run.mark_done(STAGE, counts.to_record())
    return made


def check_given_chains(mrsi: MRSI, posts: Sequence[Post], program: Trainable, run_dir: Path | None = None) -> None:
    """Refuse a reasoning set of `chains_from` that the program cannot be trained on, before anything is written.

    Args:
        mrsi: The settings; without `chains_from` there is nothing to check.
        posts: Annotated posts that the model can be trained on.
        program: The program that will learn.
        run_dir: The run directory; where the set was taken over before, that one is used, and nothing is checked.

    Raises:
        InputError: A set made for another model or other posts, or a chain that is longer than the program's answers or
            the model's context.
        DataError: A set that cannot be read.
    """
    if mrsi.chains_from is None or (run_dir is not None and (run_dir / STAGE / "done.json").is_file()):
        return
    made = _given(mrsi.chains_from, posts, program.adapter())
    own = program.demonstrations
    check_rows_fit(program, made.chains, {post.id: post for post in posts}, own)


def _given(folder: str | PathLike[str], posts: Sequence[Post], adapter: PromptAdapter) -> ReasoningSet:
    """A set that lies in a folder, or on the hub, once it is known to be made for these posts and this model."""
    made = ReasoningSet.load(folder)
    profile, limit = adapter.profile, adapter.limits.reasoning
    made.usable_for(posts, profile.box_format, adapter.labels, resize=profile.rule, limit=limit)
    return made


def teacher_lm(teacher: Any) -> dspy.BaseLM | None:
    """The LM of a teacher: itself, or that of its first predictor.

    Raises:
        InputError: Neither an LM nor a program with one.
    """
    if teacher is None or isinstance(teacher, dspy.BaseLM):
        return teacher
    lms = [predictor.lm for predictor in teacher.predictors()] if isinstance(teacher, dspy.Module) else []
    if not lms or lms[0] is None:
        raise InputError("The teacher has no LM", received=teacher, accepted="a dspy.LM, or a program with one")
    return lms[0]


def _written(
    mrsi: MRSI,
    posts: Sequence[Post],
    share: float,
    adapter: PromptAdapter,
    run: RunDirectory,
    *,
    seed: int,
    teacher: dspy.BaseLM | None,
    progress: bool,
) -> ReasoningSet:
    rng = random.Random(seed)
    first, second = split_posts(posts, share, rng)
    taught = mrsi.taught_by(teacher)
    with ChainLog(run.stage(STAGE) / "written.jsonl") as log:
        chains = taught.chains(first, adapter, rng, log=log, progress=progress)
    profile = adapter.profile
    origin = Origin(
        box_format=profile.box_format,
        labels=adapter.labels.names,
        seed=seed,
        styles=tuple(mrsi.style_set),
        per_post=mrsi.per_post,
        teacher=taught.authors or None,
        resize=profile.rule,
    )
    return ReasoningSet.of(chains, first, second, origin)
