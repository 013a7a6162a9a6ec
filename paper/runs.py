"""`Runs`: the trained programs and answers of a work folder, which all tables share."""

from __future__ import annotations

import dataclasses
import json
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

import torch

from gmner.data.files.atomic import whole_text
from gmner.data.jsonl import read_predictions, write_predictions
from gmner.data.post import Post
from gmner.data.prediction import Predictions
from gmner.data.scoring.gold_version import GoldVersion
from gmner.optimizers.mcr import MCR, stage_record
from gmner.optimizers.plan import Plan, plan
from gmner.optimizers.run_directory import RunDirectory
from gmner.optimizers.training.process_group import ProcessGroup
from gmner.paper.arms import ARMS, Arm, Base
from gmner.paper.data import PaperData
from gmner.programs.bundle import load
from gmner.programs.gmner import GMNER
from gmner.programs.models.loading import load_vlm
from gmner.programs.peak_memory import process_peak
from gmner.programs.related_tasks import answer_by_task
from gmner.signatures.errors import RunDirectoryError

BUNDLE, COST, CLOCK = "program", "cost.json", "minutes.json"


@dataclass(frozen=True, slots=True)
class Cost:
    """What an arm with one seed cost.

    Attributes:
        minutes: Wall time of the compile; 0 without training.
        steps: Optimizer steps by stage.
        memory: Peak memory in bytes: of the GPU, or of this process so far.
        tokens: Tokens that were trained on by stage, with those of images and prompts, as TRL counts them.
        train: Fingerprint of the training posts.
    """

    minutes: float = 0.0
    steps: dict[str, int] = field(default_factory=dict)
    memory: int = 0
    tokens: dict[str, int] = field(default_factory=dict)
    train: str = ""


class Runs:
    """Trains and asks the arms of the paper; finished runs are kept in the work folder and never run again.

    Under `accelerate launch` or `torchrun`, all processes train and answer together, and the first one writes.

    Args:
        work: The folder. It belongs to one model, one preset and one set of posts.
        data: The posts.
        base: Settings that all arms share.
        model: A model of `gmner.load_vlm`; None: the embedded model.
        seeds: Seeds of training.
        progress: Show progress bars.

    Raises:
        RunDirectoryError: The folder belongs to other arguments, has other files, or another process uses it.
    """

    def __init__(
        self,
        work: Path,
        data: PaperData,
        base: Base,
        *,
        model: str | None = None,
        seeds: Sequence[int] = (0,),
        progress: bool = True,
    ) -> None:
        self.data, self.base, self.model, self.seeds, self.progress = data, base, model, tuple(seeds), progress
        config = {
            "model": model, "base": dataclasses.asdict(base), "data": data.name,
            # whole, because a release may change defaults
            "mrsi": stage_record(base.mrsi), "cvo": stage_record(base.cvo),
            "train": GoldVersion.of(data.train).to_dict(), "dev": len(data.dev),
        }  # fmt: skip
        self._launch = ProcessGroup()
        if self.first:
            _check_place(work)
        # A new folder needs the model in any case. An unknown one must not become the model of the folder.
        self._lm = None if (work / "config.json").is_file() else load_vlm(model, cache=False)
        self._folder = RunDirectory(work, config, writes=self._launch.first)
        self._programs: dict[tuple[str, int, bool], GMNER] = {}

    def __enter__(self) -> Runs:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._folder.close()

    @property
    def path(self) -> Path:
        """The work folder."""
        return self._folder.path

    @property
    def first(self) -> bool:
        """Whether this process writes and prints for all of them."""
        return self._launch.first

    def program(self, arm: Arm, seed: int = 0, *, fine: bool = False) -> GMNER:
        """The program of an arm; it is trained now if it was not before.

        Args:
            arm: The arm.
            seed: Seed of its training.
            fine: Train on posts with fine types.
        """
        key = arm.name, seed, fine
        if key not in self._programs:
            self._programs.clear()  # one trained model in memory at a time
            self._programs = {key: self._made(arm, seed, fine=fine)}
        return self._programs[key]

    def _made(self, arm: Arm, seed: int, *, fine: bool) -> GMNER:
        folder = self._place(arm, seed, fine=fine)
        train = self.data.fine_train if fine else self.data.train
        if arm.build is not None and self._exists(folder / BUNDLE / "manifest.json"):
            _check_posts(folder, train)
            self._lm = None
            saved: Any = load(folder / BUNDLE)
            return saved
        if not arm.start:
            program = arm.ask(self._student(fine=fine))
        else:
            program, self._lm = arm.ask(self.program(ARMS[arm.start], seed, fine=fine)), None
        return program if arm.build is None else self._trained(program, arm.build(self.base, seed), train, folder)

    def _trained(self, program: GMNER, optimizer: MCR, train: Sequence[Post], folder: Path) -> GMNER:
        """Train a program, and keep it and its cost in a folder."""
        peak_memory(reset=True)
        with _clock(folder / CLOCK) if self.first else nullcontext():
            trained: Any = program.compile(
                trainset=train, valset=None if train is self.data.fine_train else self.data.dev or None,
                optimizer=dataclasses.replace(optimizer, progress=self.progress), run_dir=folder / "run",
            )  # fmt: skip
        if self.first:
            log, version = trained.history.log, GoldVersion.of(train).fingerprint
            minutes, tokens = _minutes(folder / CLOCK), _last(log, "num_tokens")
            with whole_text(folder / COST) as file:
                json.dump(dataclasses.asdict(Cost(minutes, _last(log, "step"), peak_memory(), tokens, version)), file)
            trained.save(folder / BUNDLE)
        self._launch.wait()
        return trained

    def plan(self, arm: Arm, *, fine: bool = False) -> Plan | None:
        """What the training of an arm would cost, from two measured steps of each stage; None without training.

        It is measured on the model as it is, also for an arm that starts from another.
        """
        if arm.build is None:
            return None
        train = self.data.fine_train if fine else self.data.train
        settings = dataclasses.replace(arm.build(self.base, self.seeds[0]), progress=self.progress).settings
        return plan(settings, arm.ask(self._student(fine=fine)), train)

    def cost(self, arm: Arm, seed: int) -> Cost:
        """What training an arm cost, with that of the arm that it starts from."""
        self.program(arm, seed)
        if arm.build is None:
            return Cost()
        folder = self._place(arm, seed, fine=False)
        own = Cost(**json.loads((folder / COST).read_text(encoding="utf-8")))
        before = self.cost(ARMS[arm.start], seed) if arm.start else Cost()
        steps, tokens = {**before.steps, **own.steps}, {**before.tokens, **own.tokens}
        return Cost(before.minutes + own.minutes, steps, max(before.memory, own.memory), tokens, own.train)

    def answers(self, arm: Arm, seed: int, test: str, *, fine: bool = False) -> Predictions:
        """The answers of an arm to a test set; they are generated now if they were not before."""
        posts = self.data.test(test)
        version = GoldVersion.of(posts).fingerprint  # answers to other posts are not used again
        file = self._place(arm, seed, fine=fine) / f"{_slug(test)}-{version}.jsonl"
        if not self._exists(file):
            program, progress = self.program(arm, seed, fine=fine), self.progress and self.first
            answered = self._launch.shared(
                list(posts), lambda part: list(answer_by_task(program, part, progress=progress))
            )
            if self.first:
                write_predictions(answered, file)
            self._launch.wait()
        return read_predictions(file)

    def seeds_of(self, arm: Arm) -> tuple[int, ...]:
        """The seeds of an arm; one without training has a single one."""
        return self.seeds if arm.build is not None else self.seeds[:1]

    def _place(self, arm: Arm, seed: int, *, fine: bool) -> Path:
        kind = f"-{len(self.data.fine_labels.names)}-types" if fine else ""
        return self._folder.stage(f"{_slug(arm.name)}{kind}-{seed}")

    def _exists(self, file: Path) -> bool:
        """Whether a file exists, the same in all processes, also while the first one writes."""
        return self._launch.same(file.is_file)

    def _student(self, *, fine: bool) -> GMNER:
        if self._lm is None:
            self._lm = load_vlm(self.model, cache=False)
        return GMNER(self._lm, labels=self.data.fine_labels) if fine else GMNER(self._lm)


def peak_memory(*, reset: bool = False) -> int:
    """Peak memory in bytes since the last reset: of the GPU, or without one of this process, which cannot be reset."""
    if not torch.cuda.is_available():
        return process_peak()
    peak = torch.cuda.max_memory_allocated()
    if reset:
        torch.cuda.reset_peak_memory_stats()
    return peak


@contextmanager
def _clock(file: Path) -> Iterator[None]:
    """Add the minutes of this block to those in a file, also if it is interrupted."""
    before, began = _minutes(file), time.monotonic()
    try:
        yield
    finally:
        with whole_text(file) as out:
            json.dump(before + (time.monotonic() - began) / 60, out)


def _minutes(file: Path) -> float:
    return float(json.loads(file.read_text(encoding="utf-8"))) if file.is_file() else 0.0


def _last(log: Mapping[str, list[dict[str, Any]]], name: str) -> dict[str, int]:
    """The largest value of a count in TRL's log of each stage that has it."""
    values = {stage: [int(entry[name]) for entry in entries if name in entry] for stage, entries in log.items()}
    return {stage: max(counts) for stage, counts in values.items() if counts}


def _check_place(work: Path) -> None:
    """Refuse a folder with other files, such as a data set."""
    names = {path.name for path in work.iterdir()} - {"lock"} if work.is_dir() else set()
    if names and "config.json" not in names:
        accepted = "a new or empty folder, or one with earlier tables"
        raise RunDirectoryError("The work folder has other files", received=str(work), accepted=accepted)


def _check_posts(folder: Path, train: Sequence[Post]) -> None:
    """Refuse a program that was trained on other posts."""
    before = Cost(**json.loads((folder / COST).read_text(encoding="utf-8"))).train
    if before not in ("", now := GoldVersion.of(train).fingerprint):
        fact = f"The program in {folder} was trained on other posts (version {before}, now {now})"
        raise RunDirectoryError(fact, remedy="Pass the same data sets, or choose another work folder")


def _slug(name: str) -> str:
    """A name as a part of a path."""
    return re.sub(r"[^\w.]+", "-", name).strip("-").lower()
