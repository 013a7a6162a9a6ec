"""`MCR`: MRSI, then CVO, as one DSPy optimizer.

Source: "Beyond Unimodal Shortcuts: MLLMs as Cross-Modal Reasoners for Grounded Named Entity Recognition", Ma et al.,
Findings of ACL 2026.
"""

from __future__ import annotations

import atexit
import copy
import dataclasses
import logging
import random
import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import dspy
from dspy.teleprompt import Teleprompter

from gmner.data.post import Post
from gmner.optimizers.chains.demonstration_search import RECORD
from gmner.optimizers.chains.reasoning_pass import check_given_chains, teacher_lm
from gmner.optimizers.chains.reasoning_set import ReasoningSet
from gmner.optimizers.chains.split import split_posts
from gmner.optimizers.checked_rewards import accept_corrected, failed_key, own_rewards
from gmner.optimizers.checks import checked_sets
from gmner.optimizers.compilation import Compilation, History
from gmner.optimizers.compile_settings import CompileSettings
from gmner.optimizers.cvo import CVO
from gmner.optimizers.gold_digest import gold_digest
from gmner.optimizers.mrsi import MRSI
from gmner.optimizers.plan import plan
from gmner.optimizers.run_directory import RunDirectory
from gmner.optimizers.training import trainable as training
from gmner.optimizers.training.process_group import ProcessGroup
from gmner.optimizers.training.rows import fitting_posts
from gmner.optimizers.training.validation import resolve_every
from gmner.programs.state import state_digest
from gmner.programs.trainable import Trainable
from gmner.signatures.errors import InputError, RunDirectoryError
from gmner.signatures.terminal import printable

LOG = logging.getLogger(__name__)

_LEAST_HELD_OUT, _MOST_HELD_OUT = 16, 200

__all__ = ["MCR", "History", "as_posts"]


class MCR(Teleprompter):
    """Compile a `GMNER` program: inject reasoning in many styles, then optimize against verifiable rewards.

    The posts are split into D1 and D2. MRSI writes chains over D1 and trains on them (TRL's SFTTrainer); CVO then
    trains on D2 (TRL's GRPOTrainer) with five rewards. The student and its weights stay as they were. For an LM whose
    weights cannot be reached, MRSI sets demonstrations on the program and CVO is left out, with a warning.

    Args:
        mrsi: Settings of the injection; None: CVO alone, on all posts, as in the paper's ablation.
        cvo: Settings of the optimization; None: MRSI alone.
        d1_share: D1's share of the posts; the paper does not give it. 1: D1 and D2 are both all posts.
        holdout: Share of the trainset that is held out as the valset where none is given: at least 16 posts, at most
            200, and none of fewer than 48 posts. 0: none is; stages are then not scored. An LM whose weights cannot be
            reached is never asked about posts that are held out.
        learnable_answers: Sample so many answers to each post of D2 from the program after MRSI, and leave out of CVO
            what it answers always right or always wrong, see `learnable`; None: CVO takes all of D2.
        max_minutes: Most minutes from the start of a compile after which no stage begins a training step. The stage
            that runs then ends with a checkpoint, its program is the result, and the same compile with the same
            `run_dir` goes on there, with other minutes if they are given. None: all steps are made.
        seed: Seed of split, chains, order and sampling.
        progress: Show progress bars.
        leave_out_invalid: Leave out posts whose gold answer the program could not write, see `gmner.check_posts`, and
            warn with their number; False: they are refused.

    Of a `StagedGMNER` MRSI trains every call on what each chain says of it, and CVO every call on the rewards of the
    whole answer: what the program says with this call answered anew, and the others as it answered them before CVO.

    Under `accelerate launch` or `torchrun` all processes train and answer together; the first one writes, asks teachers
    and shows progress. Batches are those of all processes.

    The program that `compile` returns has one more attribute, `history`: see `gmner.optimizers.compilation.History`.

    Example:
        >>> better = program.compile(trainset=train, valset=dev, optimizer=gmner.MCR())  # doctest: +SKIP
    """

    def __init__(
        self,
        *,
        mrsi: MRSI | None = MRSI(),  # noqa: B008 - frozen
        cvo: CVO | None = CVO(),  # noqa: B008 - frozen
        d1_share: float = 1.0,
        holdout: float = 0.1,
        learnable_answers: int | None = None,
        max_minutes: float | None = None,
        seed: int = 0,
        progress: bool = True,
        leave_out_invalid: bool = False,
    ) -> None:
        super().__init__()
        for kind, settings in ((MRSI, mrsi), (CVO, cvo)):
            if settings is not None and not isinstance(settings, kind):
                accepted = f"{kind.__name__}(...) or None"
                raise InputError(f"{kind.__name__} is given by its settings", received=settings, accepted=accepted)
        if mrsi is None and cvo is None:
            raise InputError("Without MRSI and CVO there is nothing to compile", received=(mrsi, cvo))
        if not 0 < d1_share <= 1:
            raise InputError("d1_share is not a share", received=d1_share, accepted="above 0 and at most 1")
        if not 0 <= holdout < 1:
            raise InputError("holdout is not a share", received=holdout, accepted="0 or more, and below 1")
        if max_minutes is not None and not max_minutes > 0:
            raise InputError("max_minutes must be positive or None", received=max_minutes)
        self.mrsi, self.cvo = mrsi, cvo
        self.d1_share, self.holdout, self.learnable_answers = d1_share, holdout, learnable_answers
        self.max_minutes, self.seed, self.progress = max_minutes, seed, progress
        self.leave_out_invalid = leave_out_invalid

    def compile(
        self,
        student: dspy.Module,
        *,
        trainset: Sequence[Any],
        teacher: dspy.Module | dspy.BaseLM | None = None,
        valset: Sequence[Any] | None = None,
        run_dir: str | PathLike[str] | None = None,
        dry_run: bool = False,
        **kwargs: Any,
    ) -> Trainable:
        """Compile `student` into a new program.

        Args:
            student: A `GMNER` or `StagedGMNER` program with an LM.
            trainset: Annotated posts, or `dspy.Example`s made by `to_example`.
            teacher: The LM, or a program with the LM, of the `LLMStyle` and `MLLMStyle` among MRSI's styles that have
                none of their own: a bigger local model, or a server. None: there are no such styles.
            valset: Annotated posts on which the program is scored before and after each stage, and on which MRSI
                searches demonstrations where it may; None or empty: posts of the trainset are held out, see `holdout`.
            run_dir: Folder that keeps what is made; a stopped compile with the same arguments goes on there. None: a
                temporary folder, which stays until the process ends.
            dry_run: Print what the compile would do and cost (see `gmner.optimizers.plan.Plan`), measured over two
                steps of each stage, and return a copy of the student; `run_dir` is not touched.
            **kwargs: None; anything else is refused.

        Raises:
            InputError: Not such a program, a staged one that MRSI would have to demonstrate, an empty or not annotated
                trainset, gold that the program could not write (see `gmner.check_posts`), a valset that cannot be
                scored, a teacher that no style uses or a style without one, or
                an unknown argument.
            ImageError: A picture of the trainset cannot be read, or the model does not take it.
            RewardError: A reward raised, or returned something other than one number or None per completion.
            RunDirectoryError: `run_dir` belongs to a compile with other arguments. Only the posts of the valset and the
                reward that stopped the run may be others; a warning says what is computed anew.
        """
        if kwargs:
            raise InputError("MCR does not know these arguments", received=sorted(kwargs), accepted="see MCR.compile")
        if not isinstance(student, Trainable):
            raise InputError(
                "MCR compiles GMNER programs",
                received=type(student).__name__,
                accepted="GMNER, StagedGMNER or another gmner.programs.trainable.Trainable",
            )
        return self._with_styles(student)._compiled(student, trainset, teacher, valset, run_dir, dry_run=dry_run)

    def _with_styles(self, student: Trainable) -> MCR:
        """This optimizer with MRSI's styles chosen for an LM whose weights are trained, or are not; see `MRSI`."""
        if self.mrsi is None or self.mrsi.styles is not None:
            return self
        chosen = copy.copy(self)
        chosen.mrsi = self.mrsi.chosen(trained=training.trainable_engine(student.model) is not None)
        return chosen

    def _compiled(
        self,
        student: Trainable,
        trainset: Sequence[Any],
        teacher: dspy.Module | dspy.BaseLM | None,
        valset: Sequence[Any] | None,
        run_dir: str | PathLike[str] | None,
        *,
        dry_run: bool,
    ) -> Trainable:
        """Check what is given before anything is written, then run the stages."""
        train, val = self._sets(trainset, valset, student)
        if not student.whole_answers:
            self._check_staged(student)
        if self.cvo is not None:
            self.cvo.reward_set.bound(student.labels, student.adapter().profile.box_format)
        lm = teacher_lm(teacher)
        if self.mrsi is not None and self.mrsi.chains_from is not None:
            fitting = fitting_posts(train, student, self.settings.longest_answer)
            check_given_chains(self.mrsi, fitting, student, None if run_dir is None else Path(run_dir))
        config = self._config(student, train, val, self._authors(student, lm))
        launch = ProcessGroup()
        if dry_run:
            planned = plan(self.settings, student, train)
            if launch.first:
                sys.stdout.write(printable(f"{planned}") + "\n")
            return student.deepcopy()
        folder = launch.same(_temporary) if run_dir is None else Path(run_dir)
        renewable = [] if val is None else ["val", "val_content"]
        with RunDirectory(folder, config, writes=launch.first, renewable=[*renewable, *failed_key(folder)]) as run:
            if set(run.renewed) & set(renewable):
                self._renew_valset(run, len(val or []))
            accept_corrected(run)
            launch.wait()
            return Compilation(self.settings, student, train, val, run, launch, lm).result()

    def _sets(
        self, trainset: Sequence[Any], valset: Sequence[Any] | None, student: Trainable
    ) -> tuple[list[Post], list[Post] | None]:
        """The posts to train on, and those on which stages are scored: given, held out, or None."""
        train, val = as_posts(trainset), as_posts(valset) if valset else None  # BetterTogether gives [] for none
        train, val = checked_sets(train, val, student.adapter(), leave_out_invalid=self.leave_out_invalid)
        trained = training.trainable_engine(student.model) is not None
        if val is None and self.holdout and trained and not self._all_have_chains(train):
            train, val = held_out(train, self.holdout, self.seed)
        if val is None and any(stage and stage.validate_every not in (None, "auto") for stage in (self.mrsi, self.cvo)):
            raise InputError("validate_every needs a valset", received=valset, remedy="Pass compile(valset=...)")
        return train, val

    def _all_have_chains(self, train: Sequence[Post]) -> bool:
        """Whether a set of chains that is used again was written for all of these posts: then none is held out."""
        if self.mrsi is None or self.mrsi.chains_from is None:
            return False
        made = ReasoningSet.load(self.mrsi.chains_from)
        return {post.id for post in train} == {*made.d1, *made.d2}

    @property
    def settings(self) -> CompileSettings:
        """The settings as they are now, as a value."""
        return CompileSettings(
            self.mrsi, self.cvo, self.d1_share, self.learnable_answers, self.max_minutes, self.seed, self.progress
        )

    def _renew_valset(self, run: RunDirectory, posts: int) -> None:
        """Go on with another valset: what was chosen with the former one is chosen anew; trained weights stay."""
        if run.read_json("config.json").get("val") is None:
            raise RunDirectoryError(
                f"The run in {run.path} was started without a valset",
                remedy="Go on without one, or choose another run_dir",
            )
        if (run.path / RECORD).is_file() and run.read_json(RECORD).get("max_metric_calls"):
            (run.path / RECORD).unlink()
        LOG.warning(
            "The valset is another than the one that the run in %s was started with: scores, the choice of the stage "
            "and the search for demonstrations are computed anew; finished stages keep their weights%s",
            run.path,
            ", which were chosen with the former valset"
            if any(stage and resolve_every(stage.validate_every, 1, posts) for stage in (self.mrsi, self.cvo))
            else "",
        )
        run.accept()

    def _check_staged(self, student: Trainable) -> None:
        """MRSI's demonstrations are whole answers, which no call of a staged program gives."""
        if self.mrsi is None:
            return
        trains = self.mrsi.trains and training.trainable_engine(student.model) is not None
        if self.mrsi.demonstrations or not trains:
            raise InputError(
                "MRSI has no demonstrations for a staged program", received=student.model.model,
                accepted="an LM of gmner.load_vlm, MRSI(demonstrations=None) and a tuning other than none",
                remedy="Compile GMNER, or demonstrate with dspy.BootstrapFewShot",
            )  # fmt: skip

    def _authors(self, student: Trainable, teacher: dspy.BaseLM | None) -> str:
        """Who writes chains, see `MRSI.authors`; refuses what cannot be compiled before anything is written."""
        if self.mrsi is None:
            if teacher is not None:
                raise InputError("The teacher has nothing to write", received="MCR(mrsi=None)", accepted="MRSI")
            if training.trainable_engine(student.model) is None:
                raise InputError(
                    "CVO trains weights, and those of the LM cannot be reached", received=student.model.model,
                    accepted="an LM of gmner.load_vlm, or a compile with MRSI",
                )  # fmt: skip
            return ""
        # A set that was written before needs no teacher.
        return "" if self.mrsi.chains_from is not None else self.mrsi.taught_by(teacher).authors

    def _config(
        self, student: Trainable, train: Sequence[Post], val: Sequence[Post] | None, authors: str
    ) -> dict[str, Any]:
        """What a resumed compile must have in common with the stopped one."""
        return {
            "mrsi": None if self.mrsi is None else _plain(self.mrsi),
            "teacher": authors,
            "learnable_answers": self.learnable_answers,
            "cvo": None if self.cvo is None else _plain(self.cvo),
            **({} if self.cvo is None else own_rewards(self.cvo.reward_set)),
            "d1_share": self.d1_share,
            "holdout": self.holdout,
            "seed": self.seed,
            "model": student.model.model,
            "labels": dict(student.labels.types),
            "limits": dataclasses.asdict(student.limits),
            "box_format": dataclasses.asdict(student.adapter().profile.box_format),
            "instructions": "\n".join(predictor.signature.instructions for predictor in student.predictors()),
            "demonstrations": state_digest(student),
            "train": [post.id for post in train],
            "train_content": _content(train),
            "val": None if val is None else [post.id for post in val],
            "val_content": None if val is None else _content(val),
        }


def _temporary() -> Path:
    """A folder for a run that nobody keeps: gone when the process ends."""
    folder = Path(tempfile.mkdtemp(prefix="gmner-mcr-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def _content(posts: Sequence[Post]) -> str:
    """Twelve digits that tell posts from others with the same ids; pictures are not looked at."""
    return gold_digest(posts)


def held_out(train: Sequence[Post], share: float, seed: int) -> tuple[list[Post], list[Post] | None]:
    """The trainset without a part of it, and that part, stratified as D1 and D2 are; None: it has too few posts.

    Args:
        train: Annotated posts.
        share: Share of them that is held out, within 16 and 200 posts.
        seed: Seed of the choice.
    """
    wanted = min(_MOST_HELD_OUT, max(_LEAST_HELD_OUT, round(share * len(train))))
    if len(train) < 3 * _LEAST_HELD_OUT:
        LOG.warning("No valset is given and none is held out: the stages are not scored, and the last one is returned")
        return list(train), None
    out, _ = split_posts(train, wanted / len(train), random.Random(f"holdout-{seed}"))
    ids = {post.id for post in out}
    return [post for post in train if post.id not in ids], out


def as_posts(posts: Sequence[Any]) -> list[Post]:
    """Posts from posts, or from `dspy.Example`s that carry their post.

    Raises:
        InputError: Something else.
    """
    found = [post if isinstance(post, Post) else getattr(post, "post", None) for post in posts]
    for given, post in zip(posts, found, strict=True):
        if not isinstance(post, Post):
            raise InputError("Not an annotated post", received=given, accepted="Post, or an example of to_example")
    return [post for post in found if isinstance(post, Post)]


def _plain(settings: Any) -> dict[str, Any]:
    """Settings as JSON data; a style is known by its name."""
    data = {f.name: getattr(settings, f.name) for f in dataclasses.fields(settings)}
    if isinstance(settings, CVO):
        given = ("rewards", "weights", "sigma", "soft", "reward_set")
        data = {k: v for k, v in data.items() if k not in given} | settings.reward_set.to_record()
    if "styles" in data:
        data["styles"] = sorted(data["styles"])
        data["chains_from"] = None if data["chains_from"] is None else str(data["chains_from"])
    data["lora"] = dataclasses.asdict(data["lora"])
    return {k: dict(v) if isinstance(v, Mapping) else v for k, v in data.items()}
