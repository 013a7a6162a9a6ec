"""The pass that makes D_R for a compile: it reads a finished set, takes one from an earlier run, or writes chains."""

from __future__ import annotations

import logging
import random
from collections.abc import Sequence
from dataclasses import dataclass
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


@dataclass(frozen=True)
class ReasoningPass:
    """Makes the reasoning set D_R of a compile.

    Args:
        mrsi: The settings. With `chains_from`, that set is used as it is.
        adapter: The adapter of the program that will learn.
        share: D1's share of the posts.
        seed: Seed of split, styles and wording.
        teacher: The LM of model-written styles that have none of their own.
        progress: Show a progress bar.
    """

    mrsi: MRSI
    adapter: PromptAdapter
    share: float = 1.0
    seed: int = 0
    teacher: dspy.BaseLM | None = None
    progress: bool = True

    def result(self, posts: Sequence[Post], run: RunDirectory) -> ReasoningSet:
        """D_R, saved in the stage folder `chains` of the run directory; read from there if it is finished.

        Every chain is saved as soon as it is written, so that an interrupted pass resumes after the last one.

        Args:
            posts: Annotated posts that the model can be trained on.
            run: The run directory.

        Raises:
            InputError: A set made for another model or other posts, or a model-written style without an LM.
            DataError: A set that cannot be read.
        """
        if run.done(STAGE):
            return ReasoningSet.load(run.stage(STAGE))
        if self.mrsi.chains_from is not None:
            made = _given(self.mrsi.chains_from, posts, self.adapter)
        else:
            made = self._written(posts, run)
        made.save(run.stage(STAGE), posts)
        counts = made.counts(posts)
        if counts.fallbacks:
            reasons = ", ".join(f"{reason} {count}" for reason, count in counts.problems.items())
            LOG.warning("%d of %d chains were replaced: %s", counts.fallbacks, counts.chains, reasons)
        run.mark_done(STAGE, counts.to_record())
        return made

    def _written(self, posts: Sequence[Post], run: RunDirectory) -> ReasoningSet:
        """A new set."""
        rng = random.Random(self.seed)
        d1, d2 = split_posts(posts, self.share, rng)
        mrsi, profile = self.mrsi.taught_by(self.teacher), self.adapter.profile
        with ChainLog(run.stage(STAGE) / "written.jsonl") as log:
            chains = mrsi.chains(d1, self.adapter, rng, log=log, progress=self.progress)
        origin = Origin(
            box_format=profile.box_format,
            labels=self.adapter.labels.names,
            seed=self.seed,
            styles=tuple(mrsi.style_set),
            per_post=mrsi.per_post,
            teacher=mrsi.authors or None,
            resize=profile.rule,
        )
        return ReasoningSet.of(chains, d1, d2, origin)


def check_given_chains(mrsi: MRSI, posts: Sequence[Post], program: Trainable, run_dir: Path | None = None) -> None:
    """Check that the program can be trained on the reasoning set of `chains_from`, before anything is written.

    Args:
        mrsi: The settings. Without `chains_from` there is nothing to check.
        posts: Annotated posts that the model can be trained on.
        program: The program that will learn.
        run_dir: The run directory. If it already has a copy of the set, that copy is used and nothing is checked.

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
    """A set from a folder or the Hub, after checking that it was made for these posts and this model."""
    made = ReasoningSet.load(folder)
    profile, limit = adapter.profile, adapter.limits.reasoning
    made.usable_for(posts, profile.box_format, adapter.labels, resize=profile.rule, limit=limit)
    return made


def teacher_lm(teacher: Any) -> dspy.BaseLM | None:
    """The LM of a teacher: the teacher itself, or the LM of its first predictor.

    Raises:
        InputError: Neither an LM nor a program with one.
    """
    if teacher is None or isinstance(teacher, dspy.BaseLM):
        return teacher
    lms = [predictor.lm for predictor in teacher.predictors()] if isinstance(teacher, dspy.Module) else []
    if not lms or lms[0] is None:
        raise InputError("The teacher has no LM", received=teacher, accepted="a dspy.LM, or a program with one")
    return lms[0]
