"""Compares `gmner.MCR()` with training on answers alone, for equal posts and optimizer steps.

Training on answers uses the number of steps that MCR takes if CVO does not stop early, and, for each number of posts,
the learning rate with the best score on dev posts of the world with seed 0. Both are scored on held-out posts of the
same world. No setting was tuned on worlds with other seeds.

    python benchmarks/defaults.py --work runs/defaults                         # 100, 200 and 1,000 posts, three seeds
    python benchmarks/defaults.py --work runs/defaults --posts 100 --worlds 0 7 --seeds 3
    python benchmarks/defaults.py --work runs/defaults --posts 100 --ablation  # also the ablations of the paper
    python benchmarks/defaults.py --work runs/defaults --posts 100 --ablation --plot ablation.svg

`before` is the model as it is. `after MRSI` and `after CVO` are the weights of `MCR()` after each of its stages; it
returns one of them, chosen on posts that it holds out.

Runs are kept in the work folder: a stopped benchmark resumes, and finished runs are reused.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from over_seeds import FIGURES, f1_with_interval, gain_with_interval, plot, table

from gmner.data.files.atomic import whole_text
from gmner.data.jsonl import read_predictions, write_predictions
from gmner.data.post import Post
from gmner.data.prediction import Prediction
from gmner.data.scoring.evaluate import evaluate
from gmner.data.scoring.evaluation import Evaluation
from gmner.data.world.generate import World
from gmner.optimizers.chains.styles import TEMPLATES, Style, plain
from gmner.optimizers.mcr import MCR
from gmner.optimizers.mrsi import MRSI
from gmner.optimizers.training_set import held_out
from gmner.paper.arms import without_instruction
from gmner.programs.gmner import GMNER
from gmner.programs.models.loading import load_vlm

MIXED = {"picture_first": TEMPLATES["picture_first"], "plain": plain}
"""Two rows per post: a chain, and the answer alone."""
RATES = (1e-5, 3e-5, 1e-4, 3e-4)
TEST_POSTS, DEV_POSTS = 1200, 300
WANTED = {100: 12.0, 200: 8.0, 1000: 3.0}
"""Number of posts -> required gain of MCR in GMNER F1."""
OURS, ANSWERS = "MCR()", "answers alone"


def answers_alone(steps: int, rate: float, seed: int) -> MCR:
    """The baseline: training on answers alone."""
    mrsi = MRSI(styles={"plain": plain}, answers=False, max_steps=steps, rate=rate)
    return MCR(mrsi=mrsi, cvo=None, holdout=0, seed=seed)


def most_steps(train: Sequence[Post]) -> int:
    """The steps of both stages of MCR on these posts, less those that it holds out."""
    mcr = MCR()
    assert mcr.mrsi is not None
    assert mcr.cvo is not None
    mrsi, posts = mcr.mrsi.chosen(trained=True), len(held_out(train, mcr.holdout, mcr.seed)[0])
    return mrsi.steps(mrsi.chains_per_post * posts) + mcr.cvo.steps(posts)


def default(seed: int, steps: int) -> MCR:
    """The default settings with a seed."""
    return MCR(seed=seed)


def without_mrsi(seed: int, steps: int) -> MCR:
    """Only CVO, for the steps of both stages."""
    defaults = MCR(seed=seed)
    return MCR(mrsi=None, cvo=dataclasses.replace(defaults.cvo, max_steps=steps), seed=seed)


def without_cvo(seed: int, steps: int) -> MCR:
    """Only MRSI, for the steps of both stages."""
    defaults = MCR(seed=seed)
    return MCR(mrsi=dataclasses.replace(defaults.mrsi, max_steps=steps), cvo=None, seed=seed)


def with_styles(styles: Mapping[str, Style], seed: int, steps: int) -> MCR:
    """MRSI with chains in these styles."""
    return MCR(mrsi=MRSI(styles=styles), seed=seed)


def demonstrated(seed: int, steps: int) -> MCR:
    """Chains as demonstrations in the prompt instead of training on them, then CVO."""
    defaults = MCR(seed=seed)
    return MCR(mrsi=dataclasses.replace(defaults.mrsi, tuning="none"), seed=seed)


ABLATION: Mapping[str, Callable[[int, int], MCR]] = {
    "without MRSI": without_mrsi,
    "without CVO": without_cvo,
    "another style": partial(with_styles, {"table": TEMPLATES["table"]}),
    "all styles": partial(with_styles, TEMPLATES),
    "mixed rows": partial(with_styles, MIXED),
    "demonstrations": demonstrated,
    "without instruction": default,
}
"""Arm -> its optimizer, from the seed and the steps of both stages of MCR."""

STAGES: Mapping[str, Mapping[str, str]] = {
    OURS: {"before": "before", "mrsi": "after MRSI", "cvo": "after CVO"},
    "mixed rows": {"mrsi": "mixed rows after MRSI"},
}
"""Arm -> stages whose programs are scored as arms of their own, with the names of these arms."""

STUDENTS: Mapping[str, Callable[[GMNER], GMNER]] = {"without instruction": without_instruction}
"""The ablations that change the program, in training as well.

Without instruction, the first sentence of the full instruction is left. The embedded model otherwise gets a shorter
one, which it was trained with.
"""


@dataclasses.dataclass(frozen=True)
class Bench:
    """A work folder with runs of one world.

    Args:
        work: The folder.
        world: Seed of the world.
        posts: Training posts.
    """

    work: Path
    world: int
    posts: int

    def run(
        self,
        name: str,
        optimizer: Callable[[], MCR],
        *,
        split: str,
        count: int,
        student: Callable[[GMNER], GMNER] = GMNER.deepcopy,
        stages: Sequence[str] = (),
    ) -> dict[str, Evaluation]:
        """Compile and answer `count` posts of a split, or read the answers of an earlier run.

        Args:
            name: The name of the run's folder.
            optimizer: Makes the optimizer.
            split: Split of the world.
            count: Number of posts.
            student: Makes the program to compile from `GMNER`.
            stages: Stages of the compile whose programs answer as well.

        Returns:
            The scores of the compiled program (`result`) and of these stages.
        """
        folder = self.work / f"world-{self.world}" / f"{self.posts}-posts" / name
        posts = World(self.world).posts(split, count)
        files = {"result": folder / f"{split}-{count}.jsonl"}
        files |= {stage: folder / f"{stage}-{split}-{count}.jsonl" for stage in stages}
        if not all(file.is_file() for file in files.values()):
            program = student(GMNER(lm=load_vlm(max_batch=32, cache=False)))
            start = time.monotonic()
            train = World(self.world).posts("train", self.posts)
            better = program.compile(trainset=train, optimizer=optimizer(), run_dir=folder / "run")
            minutes = (time.monotonic() - start) / 60
            steps = sum(max(entry["step"] for entry in log) for log in better.history.log.values())
            sys.stderr.write(f"{folder}: {steps} steps, {minutes:.1f} minutes, chosen: {better.history.chosen}\n")
            answers = dict[str, list[Prediction]]()
            for stage, file in files.items():
                name = better.history.chosen if stage == "result" else stage
                if name not in answers:
                    answers[name] = better.history.programs[name].batch_posts(posts)
                write_predictions(answers[name], file)
        return {stage: evaluate(read_predictions(file), posts, progress=False) for stage, file in files.items()}


def best_rate(work: Path, posts: int, steps: int, rates: Sequence[float]) -> float:
    """The learning rate with which training on answers scores best on dev posts of world 0, with one seed per rate."""
    if len(rates) == 1:
        return rates[0]
    bench = Bench(work, 0, posts)
    scores = {
        rate: bench.run(
            f"answers-{rate:g}-0", partial(answers_alone, steps, rate, 0), split="dev", count=DEV_POSTS
        )["result"].gmner.f1
        for rate in rates
    }  # fmt: skip
    return max(scores, key=lambda rate: scores[rate])


def measured(args: argparse.Namespace, world: int, posts: int) -> dict[str, list[Evaluation]]:
    """Score all arms on one world with one number of posts and all seeds."""
    bench, results = Bench(args.work, world, posts), dict[str, list[Evaluation]]()
    max_steps = most_steps(World(world).posts("train", posts))
    rate = best_rate(args.work, posts, max_steps, args.rates)
    sys.stderr.write(f"{posts} posts: learning rate of answers alone {rate:g}\n")
    for seed in range(args.seeds):
        run = partial(bench.run, split="test", count=args.test)
        base = run(f"answers-{rate:g}-{seed}", partial(answers_alone, max_steps, rate, seed))
        results.setdefault(ANSWERS, []).append(base["result"])
        for arm, optimizer in {OURS: default, **(ABLATION if args.ablation else {})}.items():
            stages = dict(STAGES.get(arm, {}))
            if seed:
                stages.pop("before", None)  # the same for all seeds
            scores = run(
                f"{'MCR' if arm == OURS else arm.replace(' ', '-')}-{seed}",
                partial(optimizer, seed, max_steps),
                student=STUDENTS.get(arm, GMNER.deepcopy),
                stages=tuple(stages),
            )
            for stage, name in {"result": arm, **stages}.items():
                results.setdefault(name, []).append(scores[stage])
    return results


def verdicts(results: Mapping[str, Sequence[Evaluation]], posts: int) -> list[str]:
    """The requirements, and whether they are met."""
    ours, base = results[OURS], results[ANSWERS]
    everything = range(ours[0].posts)
    gain = gain_with_interval(ours, base)[0]
    low, high = f1_with_interval(ours, everything)[1], f1_with_interval(base, everything)[2]
    means = {name: (np.mean([f(e) for e in ours]), np.mean([f(e) for e in base])) for name, f in FIGURES.items()}
    lookalike = means["on lookalike posts"]
    wanted, base_mean = WANTED.get(posts, 0.0), f1_with_interval(base, everything)[0]
    requirements = {
        f"gain in GMNER F1 over answers alone at least {wanted:g}: {gain:.1f}": gain >= wanted,
        f"intervals disjoint: MCR from {low:.1f}, answers alone up to {high:.1f}": low > high,
        "no seed below the mean of answers alone": min(e.gmner.f1 for e in ours) >= base_mean,
        "standard deviation over seeds at most 2": len(ours) > 1 and np.std([e.gmner.f1 for e in ours], ddof=1) <= 2,
        f"at most half as many boxed lookalikes: {lookalike[0]:.1f}, {lookalike[1]:.1f}": lookalike[0]
        <= lookalike[1] / 2,
        "N-Rate 0": means["N-Rate, %"][0] == 0,
        "MNER F1 at most 1 point lower": means["MNER F1"][0] >= means["MNER F1"][1] - 1,
    }
    return [f"- [{'x' if met else ' '}] {requirement}" for requirement, met in requirements.items()]


def main() -> None:
    """Run the missing arms, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path("runs/defaults"), help="folder of the runs")
    parser.add_argument("--posts", type=int, nargs="+", default=[100, 200, 1000], help="numbers of training posts")
    parser.add_argument("--worlds", type=int, nargs="+", default=[0], help="seeds of the worlds")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--test", type=int, default=TEST_POSTS, help="held-out posts")
    parser.add_argument(
        "--rates",
        type=float,
        nargs="+",
        default=list(RATES),
        help="learning rates of training on answers to try on dev",
    )
    parser.add_argument("--ablation", action="store_true", help="also run the ablations of the paper")
    parser.add_argument("--plot", type=Path, metavar="SVG", help="plot of one world and one number of posts")
    args = parser.parse_args()
    if args.plot and len(args.worlds) * len(args.posts) > 1:
        parser.error("--plot is for one world and one number of posts. Give one --worlds and one --posts.")
    for world in args.worlds:
        for posts in args.posts:
            results = measured(args, world, posts)
            title = f"world {world}, {posts} posts, {args.seeds} seeds, {args.test} held-out posts"
            sys.stdout.write(table(results, title, World(world).posts("test", args.test), ANSWERS) + "\n\n")
            sys.stdout.write("\n".join(verdicts(results, posts)) + "\n\n")
            sys.stdout.flush()
            if args.plot:
                with whole_text(args.plot) as file:
                    file.write(plot(results))


if __name__ == "__main__":
    main()
