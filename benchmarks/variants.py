"""Variants of the default settings of MCR, scored on dev posts of the world.

    python benchmarks/variants.py --work runs/variants                 # all of them, for hours
    python benchmarks/variants.py --work runs/variants "KL 0.04"       # the defaults and one variant
    python benchmarks/variants.py --work runs/variants --rows mixed    # from the training rows of earlier defaults

`before CVO` is the GMNER F1 of the weights that CVO starts from; they are the same in all variants that do not concern
MRSI. The last column is the gain in GMNER F1 over the default settings, with its paired 95 % interval over the posts.

Runs are kept in the work folder: a stopped benchmark resumes, and finished runs are reused.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from defaults import MIXED

from gmner import rewards
from gmner.data.jsonl import read_predictions, write_predictions
from gmner.data.post import Post
from gmner.data.scoring.evaluate import evaluate
from gmner.data.scoring.evaluation import Evaluation
from gmner.data.scoring.resampling import compare
from gmner.data.world.generate import World
from gmner.optimizers.chains.styles import TEMPLATES
from gmner.optimizers.cvo import CVO
from gmner.optimizers.mcr import MCR
from gmner.optimizers.mrsi import MRSI
from gmner.optimizers.rewards.formulas import grounding_reward
from gmner.optimizers.training import grpo
from gmner.optimizers.training.group_sampling import GroupSampling, Rollouts, Row, differs
from gmner.programs.gmner import GMNER
from gmner.programs.models.loading import load_vlm
from gmner.signatures.boxes import Box
from gmner.signatures.errors import AnswerError
from gmner.signatures.wire import Frame, parse_answer

DEFAULTS = "defaults"
COLUMNS = ("variant", "steps", "before CVO", "GMNER F1", "MNER F1", "found", "boxed", "N-F1", "gain over the defaults")
ROWS: Mapping[str, Mapping[str, Any]] = {
    "default": {},
    "mixed": {"styles": MIXED},
}
"""Settings of the training rows of MRSI. `mixed` was the default before: a chain, and the answer alone."""
JITTER = 0.1
"""Standard deviation of the noise on each side of a box, as a share of the box's size."""


def rising_sigma(completions: Any, trainer_state: Any, **columns: Any) -> list[float | None]:
    """Grounding with a threshold that rises from 0.3 to 0.7 during the stage."""
    sigma = 0.3 + 0.4 * trainer_state.global_step / trainer_state.max_steps
    judged = rewards.judgements(completions, **columns)
    return [0.0 if judgement is None else grounding_reward(judgement, sigma) for judgement in judged]


def giou(a: Box, b: Box) -> float:
    """Generalized IoU (Rezatofighi et al., CVPR 2019), in -1..1: negative for boxes that are far apart."""
    hull = (max(a.x2, b.x2) - min(a.x1, b.x1)) * (max(a.y2, b.y2) - min(a.y1, b.y1))
    overlap = a.iou(b)
    union = (a.area + b.area) / (1 + overlap)
    return overlap - (hull - union) / hull if hull else overlap


def generalized_iou(completions: Any, **columns: Any) -> list[float | None]:
    """Grounding without a threshold: (1 + generalized IoU) / 2 of the best box, averaged over the shown mentions."""
    answers = rewards.whole_answers(completions, **columns)
    fields = ("post_text", "gold", "size", "resized", "labels", "box_format")
    labels, box_format = columns["labels"], columns["box_format"]
    scores: list[float | None] = []
    for answer, text, gold, size, resized in zip(answers, *(columns[name] for name in fields[:4]), strict=True):
        shown = [mention for mention in json.loads(gold) if mention["boxes"]]
        frame = Frame(box_format, size and tuple(size), resized and tuple(resized))
        try:
            entities = parse_answer(answer or "", text, labels, frame).entities
        except AnswerError:
            scores.append(0.0)
            continue
        found = {(entity.start, entity.end): entity.box for entity in entities}
        each = [
            (1 + max(giou(box, Box(*gold_box)) for gold_box in mention["boxes"])) / 2 if box else 0.0
            for mention in shown
            for box in [found.get((mention["start"], mention["end"]))]
        ]
        scores.append(sum(each) / len(each) if each else None)
    return scores


def jittered(posts: Sequence[Post]) -> list[Post]:
    """The posts with noise on the corners of their boxes, as in the training of E2E-GMNER."""
    rng = random.Random(0)

    def moved(box: Box, size: tuple[int, int]) -> Box:
        width, height = box.x2 - box.x1, box.y2 - box.y1
        x1, x2 = sorted(min(max(x + rng.gauss(0, JITTER) * width, 0), size[0]) for x in (box.x1, box.x2))
        y1, y2 = sorted(min(max(y + rng.gauss(0, JITTER) * height, 0), size[1]) for y in (box.y1, box.y2))
        return replace(box, x1=x1, y1=y1, x2=x2, y2=y2)

    def noisy(post: Post) -> Post:
        entities = [replace(e, boxes=tuple(moved(box, post.image.size) for box in e.boxes)) for e in post.entities]
        return replace(post, entities=tuple(entities))

    return list(map(noisy, posts))


@dataclass(frozen=True)
class ByOutcome(GroupSampling):
    """Prompts whose answers all earned the same when they were last drawn come after all others. One process only.

    Attributes:
        taught: Post -> whether the rewards of its last answers differed.
    """

    taught: dict[str, bool] = field(default_factory=dict)

    def draw(
        self, inputs: list[Row], step: int, sample: Callable[[list[Row]], tuple[Rollouts, torch.Tensor]]
    ) -> tuple[list[Row], Rollouts, int, int]:
        """Replace such prompts before their answers are sampled, and remember the outcome of all."""

        def remembered(rows: list[Row]) -> tuple[Rollouts, torch.Tensor]:
            rollouts, totals = sample(rows)
            for row, group in zip(rows[:: self.generations], totals.view(-1, self.generations), strict=True):
                self.taught[row["post"]] = differs(group)
            return rollouts, totals

        inputs, others = list(inputs), self._further(inputs, step)
        for first in range(0, len(inputs), self.generations):
            if self.taught.get(inputs[first]["post"]) is False and (other := next(others, None)) is not None:
                inputs[first : first + self.generations] = [self.rows[other]] * self.generations
        return super().draw(inputs, step, remembered)

    def _further(self, inputs: Sequence[Row], step: int) -> Any:
        posts = self.rows["post"]
        return iter(sorted(super()._further(inputs, step), key=lambda row: self.taught.get(posts[row]) is False))


def in_place_of_grounding(reward: Any) -> dict[Any, float]:
    """The default rewards, with another one in place of grounding."""
    return {reward if name == "grounding" else name: weight for name, weight in rewards.DEFAULT_WEIGHTS.items()}


@dataclass(frozen=True)
class Variant:
    """What differs from the defaults.

    Args:
        cvo: Settings of CVO.
        mrsi: Settings of MRSI, from whose weights CVO starts; they replace those of `ROWS`.
        mcr: Settings of MCR.
        posts: Changes the training posts of MRSI.
        sampling: How a step draws its prompts.
    """

    cvo: Mapping[str, Any] = field(default_factory=dict)
    mrsi: Mapping[str, Any] = field(default_factory=dict)
    mcr: Mapping[str, Any] = field(default_factory=dict)
    posts: Callable[[Sequence[Post]], Sequence[Post]] = list
    sampling: type[GroupSampling] = GroupSampling


VARIANTS: Mapping[str, Variant] = {
    DEFAULTS: Variant(),
    "rate 5e-4": Variant({"rate": 5e-4}),
    "rate 1e-4": Variant({"rate": 1e-4}),
    "80 steps": Variant({"max_steps": 80}),
    "KL 0.04": Variant({"beta": 0.04}),
    "advantages divided by the spread in the group": Variant({"scale_rewards": "group"}),
    "advantages divided by the spread in the batch": Variant({"scale_rewards": "batch"}),
    "each reward normalized": Variant({"grpo_options": {"multi_objective_aggregation": "normalize_then_sum"}}),
    "no redraws": Variant({"redraws": 0}),
    "prompts by what they last earned": Variant(sampling=ByOutcome),
    "posts with right and wrong answers": Variant(mcr={"learnable_answers": 4}),
    "span 2": Variant({"rewards": {**rewards.DEFAULT_WEIGHTS, "span": 2.0}}),
    "IoU without a threshold": Variant({"rewards": in_place_of_grounding(rewards.grounding(sigma=0.01))}),
    "generalized IoU": Variant({"rewards": in_place_of_grounding(generalized_iou)}),
    "sigma from 0.3 to 0.7": Variant({"rewards": in_place_of_grounding(rising_sigma)}),
    "jittered boxes in MRSI": Variant(posts=jittered),
    "mixed rows": Variant(mrsi=ROWS["mixed"]),
    "answers alone as well": Variant(mrsi={"answers": True}),
    "another style": Variant(mrsi={"styles": ["table"]}),
    "two styles": Variant(mrsi={"styles": ["picture_first", "table"]}),
    "all styles": Variant(mrsi={"styles": list(TEMPLATES)}),
}


@dataclass(frozen=True)
class Bench:
    """A work folder with runs on the same posts.

    Args:
        work: The folder.
        train: Training posts.
        dev: Posts to score.
        rows: Settings of MRSI that all variants share.
        seed: Seed of the training.
    """

    work: Path
    train: Sequence[Post]
    dev: Sequence[Post]
    rows: Mapping[str, Any]
    seed: int

    def injected(self, name: str) -> Path:
        """Train MRSI for a variant, or reuse the run of another variant or of an earlier benchmark."""
        variant = VARIANTS[name]
        start = self.work / ("MRSI" if variant.posts is list and not variant.mrsi else f"MRSI, {name}")
        if not self._answers(start).is_file():
            optimizer = MCR(mrsi=MRSI(**{**self.rows, **variant.mrsi}), cvo=None, holdout=0, seed=self.seed)
            student = GMNER(lm=load_vlm(max_batch=32, cache=False))
            better = student.compile(trainset=variant.posts(self.train), optimizer=optimizer, run_dir=start)
            write_predictions(better.batch_posts(self.dev), self._answers(start))
        return start

    def optimized(self, name: str) -> tuple[Path, int]:
        """Train CVO for a variant from the weights of MRSI; returns its run and its number of steps."""
        variant, run, start = VARIANTS[name], self.work / name, self.injected(name)
        steps = run / "steps.json"
        if not steps.is_file():
            program = GMNER(lm=load_vlm(start / "mrsi", max_batch=32, cache=False))
            cvo = CVO(**{"validate_every": None, **variant.cvo})
            optimizer = MCR(mrsi=None, cvo=cvo, holdout=0, seed=self.seed, **variant.mcr)
            with mock.patch.object(grpo, "GroupSampling", variant.sampling):
                better = program.compile(trainset=self.train, optimizer=optimizer, run_dir=run)
            write_predictions(better.batch_posts(self.dev), self._answers(run))
            steps.write_text(json.dumps(max(entry["step"] for entry in better.history.log["cvo"])), encoding="utf-8")
        return run, json.loads(steps.read_text(encoding="utf-8"))

    def scores(self, run: Path) -> Evaluation:
        """The scores of a run on the dev posts."""
        return evaluate(read_predictions(self._answers(run)), self.dev, progress=False)

    def _answers(self, run: Path) -> Path:
        return run / f"dev-{len(self.dev)}.jsonl"


def main() -> None:
    """Run the missing variants, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("variants", nargs="*", choices=[*VARIANTS, []], help="variants to include")
    parser.add_argument("--work", type=Path, default=Path("runs/variants"), help="folder of the runs")
    parser.add_argument("--posts", type=int, default=100, help="number of training posts")
    parser.add_argument("--dev", type=int, default=900, help="number of dev posts to score")
    parser.add_argument("--seed", type=int, default=0, help="seed of the training")
    parser.add_argument("--rows", choices=ROWS, default="default", help="training rows of MRSI")
    args = parser.parse_args()
    work = args.work / args.rows / f"{args.posts}-posts" / f"seed-{args.seed}"
    train, dev = World().posts("train", args.posts), World().posts("dev", args.dev)
    bench = Bench(work, train, dev, ROWS[args.rows], args.seed)
    sys.stdout.write("| " + " | ".join(COLUMNS) + " |\n|" + " --- |" * len(COLUMNS) + "\n")
    base = bench.scores(bench.optimized(DEFAULTS)[0])
    for name in dict.fromkeys([DEFAULTS, *(args.variants or VARIANTS)]):
        before, (run, steps) = bench.scores(bench.injected(name)), bench.optimized(name)
        scores = bench.scores(run)
        gain = compare(base, scores).tasks["gmner"]
        figures = [before.gmner.f1, scores.gmner.f1, scores.mner.f1, scores.found_of_shown, scores.boxed_of_absent]
        cells = [name, str(steps), *(f"{figure or 0.0:.1f}" for figure in (*figures, scores.bias.n_f1))]
        sys.stdout.write(f"| {' | '.join(cells)} | {gain.difference:+.1f} ({gain.low:.1f} to {gain.high:.1f}) |\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
