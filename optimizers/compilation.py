"""One compile of MCR: runs the stages in order, in a run directory, on one or several processes."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from operator import attrgetter
from pathlib import Path
from typing import Any

import dspy

from gmner.data.post import Post
from gmner.data.scoring.evaluate import Evaluation, evaluate
from gmner.optimizers.chains.chain import Chain
from gmner.optimizers.chains.demonstration_search import DemonstrationSearch
from gmner.optimizers.chains.demonstrations import check_demonstrations
from gmner.optimizers.chains.reasoning_pass import ReasoningPass
from gmner.optimizers.chains.split import check_split
from gmner.optimizers.compile_settings import CompileSettings
from gmner.optimizers.curves import write_log_curves
from gmner.optimizers.cvo import CVO
from gmner.optimizers.filtering import FilteredPosts, filter_by_outcome
from gmner.optimizers.mixture import drawn, task_counts
from gmner.optimizers.mrsi import MRSI
from gmner.optimizers.outcome import UnchangedProgramWarning, best_stage, fallen, figure, why_unchanged
from gmner.optimizers.run_directory import RunDirectory
from gmner.optimizers.training import trainable as training
from gmner.optimizers.training.process_group import ProcessGroup
from gmner.optimizers.training.rollout_page import write_rollout_page
from gmner.optimizers.training.rollouts import kept_rollouts
from gmner.optimizers.training.rows import fitting_posts, program_rows
from gmner.optimizers.training.validation import METRIC, Deadline, ValidationMonitor, resolve_every
from gmner.programs.corpus import answer_posts
from gmner.programs.engine.vlm_engine import VLMEngine
from gmner.programs.related_tasks import answer_by_task
from gmner.programs.seams.dspy_seams import set_compiled
from gmner.programs.trainable import ProgramCall, Trainable
from gmner.signatures.errors import InputError

LOG = logging.getLogger(__name__)


class History(list[Any]):
    """The history of a compile, which is also the list of the compiled program's LM calls.

    DSPy appends each LM call of a module to its `history`, so this has to be a list. A copy of a program starts with an
    empty list, like any DSPy module.

    Attributes:
        programs: Stage (`before`, `mrsi`, `cvo`) -> the program after it.
        scores: Stage -> `Evaluation` on the validation set; empty without one.
        chosen: The stage of the returned program: the last one, or with a validation set the one with the highest
            GMNER F1 (MNER F1 if the regions of the validation set are not annotated).
        fallen: Stage -> a sentence that says how far it scored below the previous stage; empty if none did.
        log: Stage -> TRL's log.
        unchanged: Why the returned program is the one that the compile started with; empty if it is another.
    """

    def __init__(
        self,
        programs: Mapping[str, Trainable],
        scores: Mapping[str, Evaluation],
        chosen: str,
        log: Mapping[str, list[dict[str, Any]]],
        unchanged: str = "",
        fallen: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__()
        self.programs, self.scores, self.chosen, self.log = programs, scores, chosen, log
        self.unchanged, self.fallen = unchanged, dict(fallen or {})


class Compilation:
    """One compile: runs the stages in order and skips those that are finished.

    Args:
        settings: The settings.
        student: The program to compile.
        train: Annotated posts.
        val: Annotated posts on which stages are scored, or None.
        run: The run directory.
        launch: The processes that compile together. All of them train and answer; the first one writes.
        teacher: The LM of model-written styles that have none of their own.
    """

    def __init__(
        self,
        settings: CompileSettings,
        student: Trainable,
        train: list[Post],
        val: list[Post] | None,
        run: RunDirectory,
        launch: ProcessGroup,
        teacher: dspy.BaseLM | None,
    ) -> None:
        self.settings, self.val, self.run, self.launch = settings, val, run, launch
        self.engine, self.progress = training.trainable_engine(student.model), settings.progress and launch.first
        self.adapter = student.adapter()
        train = fitting_posts(train, student, settings.longest_answer)
        self.tasks = {post.task for post in train}
        self.d2: list[Post] = train
        self.posts: dict[str, Post] = {}
        self.chains: list[Chain] = []
        if settings.mrsi is not None:
            self._reason(settings.mrsi, train, teacher)
        self.scores: dict[str, Evaluation] = {}
        self.log: dict[str, list[dict[str, Any]]] = {}
        self.programs: dict[str, Trainable] = {"before": student}
        self.deadline = Deadline(settings.max_minutes, launch)

    def _reason(self, mrsi: MRSI, train: list[Post], teacher: dspy.BaseLM | None) -> None:
        """Make D_R and its split: chains over D1, and the posts of D2."""
        settings = self.settings
        share = 1.0 if settings.cvo is None or self.engine is None or not mrsi.trains else settings.d1_share
        reasoning = ReasoningPass(mrsi, self.adapter, share, settings.seed, teacher, self.progress)
        made = self.launch.in_turn(partial(reasoning.result, train, self.run))
        by_id = {post.id: post for post in train}
        self.d2 = [by_id[name] for name in made.d2] or train  # if D1 is all posts, so is D2
        if self.engine is not None:
            d1, d2 = self._drawn([by_id[name] for name in made.d1]), self._drawn(self.d2)
            check_split(d1, d2, injected=True, optimized=settings.cvo is not None)
        self.posts = {name: by_id[name] for name in made.d1}
        self.chains = list(made.chains)

    def _drawn(self, posts: Sequence[Post]) -> list[Post]:
        """The posts as often as the weights of their tasks say."""
        return drawn(posts, attrgetter("task"), self.settings.task_weights, self.settings.seed)

    def result(self) -> Trainable:
        """Run the stages and return the chosen program."""
        if self.launch.first:  # the result of a run that max_minutes stopped
            (self.run.path / "result.json").unlink(missing_ok=True)
        self.demos = self.launch.in_turn(self._demos)
        LOG.info("%s", self.way)
        self._score("before")
        if self.settings.mrsi is not None and self.engine is not None and self.settings.mrsi.trains:
            self._inject(self.settings.mrsi, self.engine)
        elif self.settings.mrsi is not None:
            self._demonstrate()
        if self.engine is not None and self.settings.cvo is not None and not self.deadline.stopped:
            self._optimize(self.settings.cvo)
        last = list(self.programs)[-1]
        chosen = best_stage(self.scores, last)
        unchanged = why_unchanged(self.programs, chosen, scored=bool(self.scores), stopped=self.deadline.stopped)
        program: Any = self.programs[chosen].deepcopy()
        falls = fallen(self.scores)
        program.history = History(self.programs, self.scores, chosen, self.log, unchanged, falls)
        set_compiled(program, True)
        scores = {stage: score.to_dict() for stage, score in self.scores.items()}
        program.scores = scores or None
        record = {"chosen": chosen, "scores": scores, "unchanged": unchanged, "fallen": falls, "way": self.way}
        self.run.write_json("result.json", record)
        if unchanged and self.launch.first:
            warnings.warn(
                f"The compile did not change the program: {unchanged}",
                UnchangedProgramWarning,
                stacklevel=6,  # DSPy adds two frames
            )
        return program

    @property
    def _last(self) -> Trainable:
        """The program of the last stage so far."""
        return list(self.programs.values())[-1]

    @property
    def way(self) -> str:
        """A sentence that says how this compile uses chains and trains weights."""
        injects = self.settings.mrsi is not None and self.settings.mrsi.trains and self.engine is not None
        tasks = task_counts(self.posts.values())
        parts = [f"MRSI trains the weights on the chains of {len(self.posts)} posts{tasks}"] if injects else []
        if self.settings.mrsi is not None and not injects:
            parts = [f"MRSI sets demonstrations ({len(self.demos)}) and trains no weights"]
        if self.settings.cvo is not None and self.engine is not None:
            trained = "them" if injects else "the weights"
            parts.append(f"CVO trains {trained} with rewards on {len(self.d2)} posts{task_counts(self.d2)}")
        return ", then ".join(parts)

    def _demonstrate(self) -> None:
        """Run MRSI with demonstrations only, because no weights are accessible or none shall be trained."""
        program = self.programs["before"].deepcopy()
        if self.engine is None:
            LOG.warning(
                "The weights of %s are not accessible: MRSI sets demonstrations, and CVO is skipped",
                program.model.model,
            )
        self.programs["mrsi"] = self._demonstrated(program)
        self._score("mrsi")

    def _demos(self) -> list[Any]:
        """The checked demonstrations of the prompt; the student's own if MRSI sets none."""
        mrsi, student = self.settings.mrsi, self.programs["before"]
        if not student.whole_answers:
            return []
        if mrsi is None:
            return list(student.demonstrations)
        check_demonstrations(student.demonstrations, student.labels, mrsi.demonstrations.check)
        count = mrsi.demonstrations.wanted(trained=self.engine is not None and mrsi.trains)
        if count is None:
            return list(student.demonstrations)
        search = DemonstrationSearch(mrsi.demonstrations, self.run, self.settings.seed, self.progress)
        whole = [chain for chain in self.chains if self.posts[chain.post_id].task == "gmner"]
        if count and not whole:
            raise InputError(
                "D1 has no post that can become a demonstration", accepted="posts with names and regions",
                remedy="Use more of them, or train weights without demonstrations",
            )  # fmt: skip
        return search.find(student, count, whole, self.posts, self.val)

    def _inject(self, mrsi: MRSI, engine: VLMEngine) -> None:
        folder = self.run.stage("mrsi")
        if not self.run.done("mrsi"):
            student, settings = self.programs["before"], self.settings
            chains = drawn(self.chains, lambda c: self.posts[c.post_id].task, settings.task_weights, settings.seed)
            lessons = mrsi.lessons(chains, student)
            rows = program_rows(student, lessons, self.posts, self.adapter, self.demos)
            watch = self._watch(engine, mrsi, mrsi.steps(len(rows)))
            self.log["mrsi"] = mrsi.inject(
                rows, engine, folder, seed=self.settings.seed, progress=self.progress, watch=watch
            )
            self._finish("mrsi")
        self._load_stage("mrsi", engine, folder)

    def _optimize(self, cvo: CVO) -> None:
        engine = training.trainable_engine(self._last.model)
        if engine is None:
            raise InputError("The weights of the stage before CVO are missing", remedy="Start the compile again")
        folder = self.run.stage("cvo")
        if not self.run.done("cvo"):
            posts = self._drawn(self.launch.in_turn(partial(self._learnable, cvo)))
            rows = cvo.rows(self._calls(posts), self.adapter)
            watch = self._watch(engine, cvo, cvo.steps(len(rows)))
            self.log["cvo"] = cvo.optimize(
                rows, engine, self.adapter, folder, seed=self.settings.seed, progress=self.progress, watch=watch
            )
            if self.launch.first and kept_rollouts(folder):  # missing with grpo_options={"log_completions": False}
                write_rollout_page(folder, {post.id: post for post in self.d2}, self.adapter)
            if self.launch.first:
                write_log_curves(self.log["cvo"], folder)
            self._finish("cvo")
        self._load_stage("cvo", engine, folder)

    def _calls(self, posts: Sequence[Post]) -> list[ProgramCall]:
        """The calls that CVO trains. For a staged program they contain its current answers, saved in the run."""

        def keep(answer: Callable[..., list[Any]], asked: Sequence[Post] = posts) -> list[Any]:
            if not self.run.done("calls"):
                distinct = list({post.id: post for post in asked}.values())
                answers = self.launch.shared(distinct, partial(answer, progress=self.progress))
                if self.launch.first:
                    by_id = dict(zip((post.id for post in distinct), answers, strict=True))
                    self.run.mark_done("calls", by_id)
                self.launch.wait()
            saved = self.run.record("calls")
            return [saved[post.id] for post in asked]

        return self._last.rollout_calls(posts, self.demos, keep)

    def _demonstrated(self, program: Trainable) -> Trainable:
        """The program with the demonstrations of the compile; a staged program keeps its own."""
        program.set_demonstrations(self.demos)
        return program

    def _watch(self, engine: VLMEngine, stage: MRSI | CVO, steps: int) -> ValidationMonitor:
        """The monitor that scores a stage on the validation set and stops it at the deadline."""

        def score(model: Any) -> dict[str, float]:
            program = self.programs["before"].deepcopy()
            with training.lm_in_training(program.model, engine, model) as lm:
                program.set_lm(lm)
                scores = self._evaluated(self._demonstrated(program), progress=False)
            return {METRIC: figure(scores), "mner_f1": scores.mner.f1, "eeg_f1": scores.eeg.f1}

        every = resolve_every(stage.validate_every, steps, len(self.val or []))
        return ValidationMonitor(self.deadline, score, every, stage.patience)

    def _finish(self, stage: str) -> None:
        """Mark a stage as done unless the deadline stopped it; other processes wait until its weights are on disk."""
        if self.launch.first and self.deadline.stopped:
            LOG.warning(
                "Stopped training after %s minutes, in stage %s; the program has the weights of its last step. "
                "Run the same compile with the same run_dir to resume.", self.settings.max_minutes, stage,
            )  # fmt: skip
        elif self.launch.first:
            self.run.mark_done(stage, {"log": self.log[stage]})
        self.launch.wait()

    def _learnable(self, cvo: CVO) -> Sequence[Post]:
        """The posts of D2 that CVO can learn from; sampled once and saved in the run."""
        answers = self.settings.learnable_answers
        if answers is None:
            return self.d2
        if self.run.done("learnable"):
            return FilteredPosts.from_record(self.run.record("learnable"), self.d2).posts
        seed, temperature = self.settings.seed, cvo.temperature
        filtered = filter_by_outcome(
            self._last, self.d2, answers=answers, temperature=temperature, seed=seed, progress=self.progress
        )
        self.run.mark_done("learnable", filtered.to_record())
        filtered.warn_if_few(cvo.steps(len(filtered.posts)) * cvo.prompts)
        return filtered.posts

    def _load_stage(self, stage: str, engine: VLMEngine, folder: Path) -> None:
        """Load the weights that a stage wrote into a new program, and score it."""
        program = self.programs["before"].deepcopy()
        program.set_lm(training.tuned_lm(self.programs["before"].model, engine, folder))
        self.programs[stage] = self._demonstrated(program)
        if stage not in self.log:
            self.log[stage] = self.run.record(stage)["log"]
        self._score(stage)

    def _score(self, stage: str) -> None:
        """Score a stage's program on the validation set."""
        if self.val is not None:
            self.scores[stage] = self._evaluated(self.programs[stage], progress=self.progress)
            self.run.write_json(f"scores-{stage}.json", self.scores[stage].to_dict())
            if self.launch.first and stage in (falls := fallen(self.scores)):
                LOG.warning("%s", falls[stage])

    def _evaluated(self, program: Trainable, *, progress: bool) -> Evaluation:
        """A program's scores on the validation set; every process answers a part of it.

        Posts without regions are answered as a whole, unless the weights learn to find names alone.
        """
        val = self.val or []
        whole = val and val[0].task == "mner" and "mner" not in self.tasks
        answer = answer_posts if whole else answer_by_task
        answers = self.launch.shared(val, partial(answer, program, progress=progress))
        return evaluate(answers, val, progress=progress)
