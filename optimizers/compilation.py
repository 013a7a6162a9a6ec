"""One compile of MCR: the stages in order, in a run directory, on one process or on several."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import dspy

from gmner.data.post import Post
from gmner.data.scoring.evaluate import Evaluation, evaluate
from gmner.optimizers.chains.chain import Chain
from gmner.optimizers.chains.demonstrations import check_demonstrations
from gmner.optimizers.chains.reasoning_pass import reasoning_pass
from gmner.optimizers.chains.split import check_split
from gmner.optimizers.compile_settings import CompileSettings
from gmner.optimizers.curves import write_log_curves
from gmner.optimizers.cvo import CVO
from gmner.optimizers.filtering import FilteredPosts, filter_by_outcome
from gmner.optimizers.mrsi import MRSI
from gmner.optimizers.outcome import UnchangedProgramWarning, best_stage, fallen, figure, why_unchanged
from gmner.optimizers.run_directory import RunDirectory
from gmner.optimizers.training import trainable as training
from gmner.optimizers.training.process_group import ProcessGroup
from gmner.optimizers.training.rollouts import kept_rollouts, write_rollout_page
from gmner.optimizers.training.rows import fitting_posts, program_rows
from gmner.optimizers.training.validation import METRIC, Deadline, ValidationMonitor, resolve_every
from gmner.programs.corpus import answer_posts
from gmner.programs.engine.vlm_engine import VLMEngine
from gmner.programs.seams.dspy_seams import set_compiled
from gmner.programs.trainable import ProgramCall, Trainable
from gmner.signatures.errors import InputError

LOG = logging.getLogger(__name__)


class History(list[Any]):
    """What happened in a compile; as a list, the LM calls of the compiled program.

    Every DSPy module keeps its calls in a list of this name and adds to it with each one, so it has to stay a list.
    A copy of a program begins with an empty list, as all of DSPy's do.

    Attributes:
        programs: Stage (`before`, `mrsi`, `cvo`) -> the program after it.
        scores: Stage -> `Evaluation` on the valset; empty without one.
        chosen: The stage of the program returned: the last, or with a valset the best by GMNER F1 (MNER F1 where the
            valset's regions are not annotated).
        fallen: Stage -> in words, that it scored below the stage before it; empty: none did.
        log: Stage -> TRL's log.
        unchanged: Why the program returned is the one that the compile began with; empty: it is another.
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
    """One compile: its stages in order, each of which is skipped where its result is there already.

    Args:
        settings: The settings.
        student: The program to be compiled.
        train: Annotated posts.
        val: Annotated posts on which stages are scored, or None.
        run: The run directory.
        launch: The processes that compile together: all of them train and answer, the first one writes.
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
        """D_R and its split: chains over D1, and the posts of D2."""
        settings = self.settings
        share = 1.0 if settings.cvo is None or self.engine is None or not mrsi.trains else settings.d1_share
        write = partial(
            reasoning_pass, mrsi, train, share, self.adapter, self.run, seed=settings.seed, teacher=teacher,
            progress=self.progress,
        )  # fmt: skip
        made = self.launch.in_turn(write)
        by_id = {post.id: post for post in train}
        self.d2 = [by_id[name] for name in made.d2] or train  # none are left for D2 where D1 is all of them
        if self.engine is not None:
            check_split(made.d1, self.d2, injected=True, optimized=settings.cvo is not None)
        self.posts = {name: by_id[name] for name in made.d1}
        self.chains = list(made.chains)

    def result(self) -> Trainable:
        """Run the stages and return the chosen program."""
        if self.launch.first:  # of a run that its minutes stopped, and that is resumed now
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
        kept = {"chosen": chosen, "scores": scores, "unchanged": unchanged, "fallen": falls, "way": self.way}
        self.run.write_json("result.json", kept)
        if unchanged and self.launch.first:
            warnings.warn(
                f"The compiled program is the one that the compile began with: {unchanged}",
                UnchangedProgramWarning,
                stacklevel=6,  # two of the frames between are DSPy's
            )
        return program

    @property
    def _last(self) -> Trainable:
        """The program of the last stage so far."""
        return list(self.programs.values())[-1]

    @property
    def way(self) -> str:
        """What this compile does with the chains and with the weights, in words."""
        injects = self.settings.mrsi is not None and self.settings.mrsi.trains and self.engine is not None
        parts = [f"MRSI trains the weights on the chains of {len(self.posts)} posts"] if injects else []
        if self.settings.mrsi is not None and not injects:
            parts = [f"MRSI sets demonstrations ({len(self.demos)}) and trains no weights"]
        if self.settings.cvo is not None and self.engine is not None:
            parts.append(f"CVO trains them with rewards on {len(self.d2)} posts" if injects else
                         f"CVO trains the weights with rewards on {len(self.d2)} posts")  # fmt: skip
        return ", then ".join(parts)

    def _demonstrate(self) -> None:
        """MRSI by demonstrations alone: of an LM whose weights cannot be reached, or where it is to train none."""
        program = self.programs["before"].deepcopy()
        if self.engine is None:
            LOG.warning("The weights of %s cannot be reached: demonstrations only, no CVO", program.model.model)
        self.programs["mrsi"] = self._demonstrated(program)
        self._score("mrsi")

    def _demos(self) -> list[Any]:
        """The demonstrations to send, checked; the student's own where its weights are trained and MRSI sets none."""
        mrsi, student = self.settings.mrsi, self.programs["before"]
        if not student.whole_answers:
            return []
        if mrsi is None:
            return list(student.demonstrations)
        check_demonstrations(student.demonstrations, student.labels, mrsi.check)
        count = mrsi.demonstrations
        if count is None and self.engine is not None and mrsi.trains:
            return list(student.demonstrations)
        return mrsi.demos(
            student, self.chains, self.posts, mrsi.served_demonstrations if count is None else count, self.run,
            self.val, seed=self.settings.seed, progress=self.progress,
        )  # fmt: skip

    def _inject(self, mrsi: MRSI, engine: VLMEngine) -> None:
        folder = self.run.stage("mrsi")
        if not self.run.done("mrsi"):
            student = self.programs["before"]
            lessons = mrsi.lessons(self.chains, student)
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
            raise InputError("The weights of the stage before CVO are gone", remedy="Start the compile anew")
        folder = self.run.stage("cvo")
        if not self.run.done("cvo"):
            rows = cvo.rows(self._calls(self.launch.in_turn(partial(self._learnable, cvo))), self.adapter)
            watch = self._watch(engine, cvo, cvo.steps(len(rows)))
            self.log["cvo"] = cvo.optimize(
                rows, engine, self.adapter, folder, seed=self.settings.seed, progress=self.progress, watch=watch
            )
            if self.launch.first and kept_rollouts(folder):  # none with grpo_options={"log_completions": False}
                write_rollout_page(folder, {post.id: post for post in self.d2}, self.adapter)
            if self.launch.first:
                write_log_curves(self.log["cvo"], folder)
            self._finish("cvo")
        self._load_stage("cvo", engine, folder)

    def _calls(self, posts: Sequence[Post]) -> list[ProgramCall]:
        """The calls that CVO trains; of a staged program with what the program says now, kept in the run."""

        def keep(answer: Callable[..., list[Any]]) -> list[Any]:
            if not self.run.done("calls"):
                found = self.launch.shared(list(posts), partial(answer, progress=self.progress))
                if self.launch.first:
                    self.run.mark_done("calls", {post.id: said for post, said in zip(posts, found, strict=True)})
                self.launch.wait()
            kept = self.run.record("calls")
            return [kept[post.id] for post in posts]

        return self._last.rollout_calls(posts, self.demos, keep)

    def _demonstrated(self, program: Trainable) -> Trainable:
        """A program with the compile's demonstrations; a staged one keeps its own."""
        program.set_demonstrations(self.demos)
        return program

    def _watch(self, engine: VLMEngine, stage: MRSI | CVO, steps: int) -> ValidationMonitor:
        """What scores a stage on the valset as it goes, and ends it when time is up."""

        def score(model: Any) -> dict[str, float]:
            program = self.programs["before"].deepcopy()
            with training.lm_in_training(program.model, engine, model) as lm:
                program.set_lm(lm)
                scores = self._evaluated(self._demonstrated(program), progress=False)
            return {METRIC: figure(scores), "mner_f1": scores.mner.f1, "eeg_f1": scores.eeg.f1}

        every = resolve_every(stage.validate_every, steps, len(self.val or []))
        return ValidationMonitor(self.deadline, score, every, stage.patience)

    def _finish(self, stage: str) -> None:
        """Mark a stage as done, unless its time was up; the other processes go on when its weights are on the disk."""
        if self.launch.first and self.deadline.stopped:
            LOG.warning(
                "Stopped training after %s minutes, in stage %s: the program has the weights of its last step. "
                "Run the same compile with the same run_dir to resume.", self.settings.max_minutes, stage,
            )  # fmt: skip
        elif self.launch.first:
            self.run.mark_done(stage, {"log": self.log[stage]})
        self.launch.wait()

    def _learnable(self, cvo: CVO) -> Sequence[Post]:
        """The posts of D2 that CVO can learn from, sampled once."""
        answers = self.settings.learnable_answers
        if answers is None:
            return self.d2
        if self.run.done("learnable"):
            return FilteredPosts.from_record(self.run.record("learnable"), self.d2).posts
        program, seed, temperature = self._last, self.settings.seed, cvo.temperature
        found = filter_by_outcome(
            program, self.d2, answers=answers, temperature=temperature, seed=seed, progress=self.progress
        )
        self.run.mark_done("learnable", found.to_record())
        found.warn_if_few(cvo.steps(len(found.posts)) * cvo.prompts)
        return found.posts

    def _load_stage(self, stage: str, engine: VLMEngine, folder: Path) -> None:
        """A new program on the weights that a stage wrote, scored on the valset."""
        program = self.programs["before"].deepcopy()
        program.set_lm(training.tuned_lm(self.programs["before"].model, engine, folder))
        self.programs[stage] = self._demonstrated(program)
        if stage not in self.log:
            self.log[stage] = self.run.record(stage)["log"]
        self._score(stage)

    def _score(self, stage: str) -> None:
        """Score a stage's program on the valset."""
        if self.val is not None:
            self.scores[stage] = self._evaluated(self.programs[stage], progress=self.progress)
            self.run.write_json(f"scores-{stage}.json", self.scores[stage].to_dict())
            if self.launch.first and stage in (falls := fallen(self.scores)):
                LOG.warning("%s", falls[stage])

    def _evaluated(self, program: Trainable, *, progress: bool) -> Evaluation:
        """A program's scores on the valset, of which every process answers its part."""
        answers = self.launch.shared(self.val or [], partial(answer_posts, program, progress=progress))
        return evaluate(answers, self.val or [], progress=progress)
