"""`MCR`: MRSI, then CVO, as one DSPy optimizer.

Source: "Beyond Unimodal Shortcuts: MLLMs as Cross-Modal Reasoners for Grounded Named Entity Recognition", Ma et al.,
Findings of ACL 2026.
"""

from __future__ import annotations

import atexit
import copy
import dataclasses
import logging
import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import Any

import dspy
from dspy.teleprompt import Teleprompter

from gmner.data.post import Post
from gmner.optimizers.chains.demonstration_search import RECORD
from gmner.optimizers.chains.reasoning_pass import check_given_chains, teacher_lm
from gmner.optimizers.checked_rewards import accept_corrected, failed_key, own_rewards
from gmner.optimizers.compilation import Compilation
from gmner.optimizers.compile_settings import CompileSettings
from gmner.optimizers.cvo import CVO
from gmner.optimizers.gold_digest import gold_digest
from gmner.optimizers.mixture import unrewarded
from gmner.optimizers.mrsi import MRSI
from gmner.optimizers.plan import plan
from gmner.optimizers.run_directory import RunDirectory
from gmner.optimizers.training import trainable as training
from gmner.optimizers.training.process_group import ProcessGroup
from gmner.optimizers.training.rows import fitting_posts
from gmner.optimizers.training.validation import resolve_every
from gmner.optimizers.training_set import training_sets
from gmner.programs.state import state_digest
from gmner.programs.trainable import Trainable
from gmner.signatures.errors import InputError, RunDirectoryError
from gmner.signatures.keyword_options import refuse_unknown_options
from gmner.signatures.terminal import printable

LOG = logging.getLogger(__name__)


@dataclass(kw_only=True, eq=False)
class MCR(Teleprompter):
    """Compile a `GMNER` program: inject reasoning in several styles, then optimize against verifiable rewards.

    The training posts are split into D1 and D2. MRSI writes chains over D1 and trains on them with TRL's SFTTrainer.
    CVO then trains on D2 with TRL's GRPOTrainer and five rewards. The student and its weights are not changed. If the
    weights of the LM are not accessible, MRSI sets demonstrations on the program, and CVO is skipped with a warning.

    A training set may also contain posts of the related tasks, see `gmner.Post.task`: names without regions (MNER-MI)
    and referring expressions (GREC). Each is trained on what it says, with the prompt of its task, which
    `program.extract_names` and `program.ground_expression` use: its chains state only what is annotated, and only the
    rewards of that apply. Demonstrations are made of posts with names and regions.

    Args:
        mrsi: Settings of MRSI. None: CVO alone, on all posts, as in the paper's ablation.
        cvo: Settings of CVO. None: MRSI alone.
        d1_share: D1's share of the posts; the paper does not give it. 1: D1 and D2 are both all posts.
        holdout: Share of the training set that is held out for validation if `compile` gets no `valset`: at least 16
            posts, at most 200, and none if there are fewer than 48. 0: nothing is held out, and stages are not scored.
            Posts are held out only if the weights of the LM can be trained.
        learnable_answers: Number of answers to sample per post of D2 from the program after MRSI. CVO skips the posts
            that are answered always correctly or always incorrectly, see
            `gmner.optimizers.filtering.filter_by_outcome`. None: CVO uses all of D2.
        max_minutes: Stops training after this many minutes from the start of the compile. The running stage ends with
            a checkpoint, and its program is the result; the same compile with the same `run_dir` resumes training, also
            with another limit. None: no limit.
        task_weights: How often the posts of a task (`gmner`, `mner`, `grec`) are drawn: with 2 each of them is used
            twice in an epoch, with 0.5 half of them, with 0 none. A task that is not named has 1.
        seed: Seed of split, chains, order and sampling.
        progress: Show progress bars.
        leave_out_invalid: Leave out posts whose gold answer the program could not write (see `gmner.check_posts`), with
            a warning. False: such posts are refused.

    For a `StagedGMNER`, MRSI trains each call on the part of a chain that belongs to it. CVO trains each call on the
    rewards of the whole answer: this call is sampled, and the other calls are answered as before CVO.

    Under `accelerate launch` or `torchrun`, all processes train and answer together. The first process writes files,
    calls teachers and shows progress. Batch sizes count the samples of all processes.

    The program that `compile` returns has an attribute `history`, see `gmner.optimizers.compilation.History`.

    Example:
        >>> better = program.compile(trainset=train, valset=dev, optimizer=gmner.MCR())  # doctest: +SKIP
    """

    # Each optimizer makes its own default stages, so that no two share the mappings of their settings.
    mrsi: MRSI | None = field(default_factory=MRSI)
    cvo: CVO | None = field(default_factory=CVO)
    d1_share: float = 1.0
    holdout: float = 0.1
    learnable_answers: int | None = None
    max_minutes: float | None = None
    task_weights: Mapping[str, float] = field(default_factory=dict)
    seed: int = 0
    progress: bool = True
    leave_out_invalid: bool = False

    def __post_init__(self) -> None:
        """Refuse unusable settings."""
        super().__init__()
        _ = self.settings  # checks them

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
            teacher: The LM, or a program with the LM, that writes the chains of the `LLMStyle`s and `MLLMStyle`s
                without an LM of their own: a larger local model or a server. None: there are no such styles.
            valset: Annotated posts on which the program is scored before and after each stage, and on which MRSI
                searches demonstrations if `Demonstrations.max_metric_calls` is set. None or empty: posts of the
                training set are held out, see `holdout`.
            run_dir: Folder for everything that the compile writes. A stopped compile with the same arguments resumes
                from it. None: a temporary folder that is deleted when the process ends.
            dry_run: Print what the compile would do and cost (see `gmner.optimizers.plan.Plan`), and return a copy of
                the student. Two steps of each stage are measured, and servers are asked for a few answers and chains.
                `run_dir` is not touched.
            **kwargs: Not used; any further argument is refused.

        Raises:
            InputError: The student is not such a program, or it is a staged one and MRSI would set demonstrations; the
                training set is empty or not annotated; the program could not write a gold answer (see
                `gmner.check_posts`); the validation set cannot be scored; weights are trained and the LM was loaded
                with `thinking=True` or `engine="vllm"`; MRSI or CVO cannot train the family; no style uses the teacher,
                or a style needs one; or an unknown argument.
            ImageError: An image of the training set cannot be read, or the model does not accept it.
            RewardError: A reward raised, or returned something other than one number or None per completion.
            RunDirectoryError: `run_dir` belongs to a compile with other arguments. Only the posts of the validation set
                and the reward that stopped the run may differ; a warning says what is computed again.
        """
        refuse_unknown_options("MCR.compile", kwargs, ("trainset", "teacher", "valset", "run_dir", "dry_run"))
        if not isinstance(student, Trainable):
            raise InputError(
                "MCR cannot compile this program",
                received=type(student).__name__,
                accepted="GMNER, StagedGMNER or another gmner.programs.trainable.Trainable",
            )
        return self._with_styles(student)._compiled(student, trainset, teacher, valset, run_dir, dry_run=dry_run)

    def _with_styles(self, student: Trainable) -> MCR:
        """This optimizer with the default of `MRSI.styles`, which depends on whether weights are trained."""
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
        """Check all arguments before anything is written, then run the stages."""
        if self.cvo is not None or (self.mrsi is not None and self.mrsi.trains):
            training.check_engine_trains(student.model)
            training.check_answers_at_once(student.model)
            training.check_family_trains(student.model, cvo=self.cvo is not None)
        train, val = training_sets(self.settings, trainset, valset, student)
        if not student.whole_answers:
            self._check_staged(student)
        if self.cvo is not None:
            self.cvo.reward_set.bound(student.labels, student.adapter().profile.box_format)
            for task in unrewarded(train, self.cvo.reward_set):
                LOG.warning("No reward of CVO applies to posts of the task %s, so it learns nothing from them", task)
        lm = teacher_lm(teacher)
        if self.mrsi is not None and self.mrsi.chains_from is not None:
            fitting = fitting_posts(train, student, self.settings.longest_answer)
            check_given_chains(self.mrsi, fitting, student, None if run_dir is None else Path(run_dir))
        config = self._config(student, train, val, self._authors(student, lm))
        launch = ProcessGroup()
        if dry_run:
            planned = plan(self.settings, student, train, val, lm)
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

    @property
    def settings(self) -> CompileSettings:
        """The current settings as a value."""
        return CompileSettings(**{f.name: getattr(self, f.name) for f in dataclasses.fields(CompileSettings)})

    def _renew_valset(self, run: RunDirectory, posts: int) -> None:
        """Resume with another validation set: what depends on it is computed again; trained weights are kept."""
        if run.read_json("config.json").get("val") is None:
            raise RunDirectoryError(
                f"The run in {run.path} was started without a validation set",
                remedy="Resume it without one, or choose another run_dir",
            )
        if (run.path / RECORD).is_file() and run.read_json(RECORD).get("max_metric_calls"):
            (run.path / RECORD).unlink()
        LOG.warning(
            "The run in %s was started with another validation set: scores, the choice of the stage and the search for "
            "demonstrations are computed again; finished stages keep their weights%s",
            run.path,
            ", which were chosen with the former validation set"
            if any(stage and resolve_every(stage.validate_every, 1, posts) for stage in (self.mrsi, self.cvo))
            else "",
        )
        run.accept()

    def _check_staged(self, student: Trainable) -> None:
        """Refuse demonstrations for a staged program: they are whole answers, but each of its calls answers a part."""
        if self.mrsi is None:
            return
        trains = self.mrsi.trains and training.trainable_engine(student.model) is not None
        if self.mrsi.demonstrations.count or not trains:
            raise InputError(
                "MRSI cannot set demonstrations on a staged program", received=student.model.model,
                accepted="an LM of gmner.load_vlm, Demonstrations(count=None) and a tuning other than none",
                remedy="Compile a GMNER program, or set demonstrations with dspy.BootstrapFewShot",
            )  # fmt: skip

    def _authors(self, student: Trainable, teacher: dspy.BaseLM | None) -> str:
        """The LMs that write chains, see `MRSI.authors`; also checks that teacher and LM can be used."""
        if self.mrsi is None:
            if teacher is not None:
                raise InputError(
                    "A teacher requires MRSI, because it only writes chains for MRSI", received="MCR(mrsi=None)"
                )
            if training.trainable_engine(student.model) is None:
                raise InputError(
                    "CVO needs an LM whose weights are accessible", received=student.model.model,
                    accepted="an LM of gmner.load_vlm, or a compile with MRSI",
                )  # fmt: skip
            return ""
        # An existing set needs no teacher.
        return "" if self.mrsi.chains_from is not None else self.mrsi.taught_by(teacher).authors

    def _config(
        self, student: Trainable, train: Sequence[Post], val: Sequence[Post] | None, authors: str
    ) -> dict[str, Any]:
        """The arguments that must be the same when a compile is resumed."""
        return {
            "mrsi": None if self.mrsi is None else stage_record(self.mrsi),
            "teacher": authors,
            "learnable_answers": self.learnable_answers,
            "cvo": None if self.cvo is None else stage_record(self.cvo),
            **({} if self.cvo is None else own_rewards(self.cvo.reward_set)),
            "d1_share": self.d1_share,
            "holdout": self.holdout,
            **({"task_weights": dict(self.task_weights)} if self.task_weights else {}),
            **({"tasks": [post.task for post in train]} if any(post.task != "gmner" for post in train) else {}),
            "seed": self.seed,
            "model": student.model.model,
            "labels": dict(student.labels.types),
            "limits": dataclasses.asdict(student.limits),
            "box_format": student.adapter().profile.box_format.as_data(),
            "instructions": "\n".join(predictor.signature.instructions for predictor in student.predictors()),
            "demonstrations": state_digest(student),
            "train": [post.id for post in train],
            "train_content": _content(train),
            "val": None if val is None else [post.id for post in val],
            "val_content": None if val is None else _content(val),
        }


def _temporary() -> Path:
    """A folder for a run without `run_dir`, deleted when the process ends."""
    folder = Path(tempfile.mkdtemp(prefix="gmner-mcr-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def _content(posts: Sequence[Post]) -> str:
    """Twelve digits that tell posts from others with the same ids; pictures are not looked at."""
    return gold_digest(posts)


def stage_record(stage: MRSI | CVO) -> dict[str, Any]:
    """The settings of a stage as JSON data. Styles are represented by their names."""
    record = {f.name: getattr(stage, f.name) for f in dataclasses.fields(stage) if f.init}
    if isinstance(stage, CVO):
        for name in ("rewards", "weights", "sigma", "soft"):
            del record[name]
        record |= stage.reward_set.to_record()
    else:
        record |= stage.demonstrations.to_record()
        record["styles"] = sorted(stage.style_set)
        record["chains_from"] = None if stage.chains_from is None else str(stage.chains_from)
    record["lora"] = dataclasses.asdict(stage.lora)
    return record
