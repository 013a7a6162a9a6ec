"""`gmner.MCR()` without an argument against training on answers alone: equal posts, equal optimizer steps.

Answers alone get the steps that MCR makes where CVO does not end early, and the learning rate that scores best on dev
posts of the world with seed 0, for each number of posts. Both are judged on held-out posts of the world that they were
trained on. Worlds of other seeds than 0 were never tuned on.

    python benchmarks/defaults.py --work runs/defaults                         # 100, 200 and 1,000 posts, three seeds
    python benchmarks/defaults.py --work runs/defaults --posts 100 --worlds 0 7 --seeds 3
    python benchmarks/defaults.py --work runs/defaults --posts 100 --ablation  # the paper's ablations beside them

Runs are kept in the work folder: a stopped benchmark resumes, and a finished run is only read.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from ablation import FIGURES, f1_with_interval, gain_with_interval

from gmner.data.files.atomic import whole_text
from gmner.data.jsonl import read_predictions, write_predictions
from gmner.data.post import Post
from gmner.data.scoring.evaluate import evaluate
from gmner.data.scoring.evaluation import Evaluation
from gmner.data.world.generate import World
from gmner.optimizers.chains.styles import TEMPLATES, plain
from gmner.optimizers.mcr import MCR, held_out
from gmner.optimizers.mrsi import MRSI
from gmner.programs.gmner import GMNER
from gmner.programs.models.loading import load_vlm

RATES = (3e-5, 1e-4, 3e-4, 1e-3)
TEST_POSTS, DEV_POSTS = 1200, 300
WANTED = {100: 12.0, 200: 8.0, 1000: 3.0}
"""Number of posts -> GMNER F1 by which MCR is to be ahead."""


def answers_alone(steps: int, rate: float, seed: int) -> MCR:
    """The baseline: no chain, no reward."""
    mrsi = MRSI(styles={"plain": plain}, answers=False, max_steps=steps, rate=rate)
    return MCR(mrsi=mrsi, cvo=None, holdout=0, seed=seed)


def most_steps(train: Sequence[Post]) -> int:
    """The steps of MCR's two stages on these posts; of those that are left MRSI trains two rows each."""
    mcr = MCR()
    assert mcr.mrsi is not None
    assert mcr.cvo is not None
    left = len(held_out(train, mcr.holdout, mcr.seed)[0])
    return mcr.mrsi.steps(2 * left) + mcr.cvo.steps(left)


def default(seed: int) -> MCR:
    """What a user types; the seed apart."""
    return MCR(seed=seed)


def without_mrsi(seed: int) -> MCR:
    """The rewards alone, for the steps of both stages."""
    usual = MCR(seed=seed)
    return MCR(mrsi=None, cvo=dataclasses.replace(usual.cvo, least_steps=200), seed=seed)


def without_cvo(seed: int) -> MCR:
    """Chains and answers, for the steps of both stages."""
    usual = MCR(seed=seed)
    return MCR(mrsi=dataclasses.replace(usual.mrsi, least_steps=200), cvo=None, seed=seed)


def with_styles(names: Sequence[str], seed: int) -> MCR:
    """Chains in these styles."""
    usual = MCR(seed=seed)
    return MCR(mrsi=dataclasses.replace(usual.mrsi, styles={name: TEMPLATES[name] for name in names}), seed=seed)


def demonstrated(seed: int) -> MCR:
    """The mission's literal way: chains as demonstrations, then CVO, nothing tuned on chains."""
    usual = MCR(seed=seed)
    return MCR(mrsi=dataclasses.replace(usual.mrsi, tuning="none"), seed=seed)


ABLATION: Mapping[str, Callable[[int], MCR]] = {
    "without MRSI": without_mrsi,
    "without CVO": without_cvo,
    "one style": partial(with_styles, ["picture_first"]),
    "all styles": partial(with_styles, list(TEMPLATES)),
    "demonstrations": demonstrated,
}


@dataclasses.dataclass(frozen=True)
class Bench:
    """A work folder with runs.

    Args:
        work: The folder.
        world: Seed of the world.
        posts: Training posts.
    """

    work: Path
    world: int
    posts: int

    def run(self, name: str, optimizer: Callable[[], MCR], *, split: str, asked: int) -> tuple[Evaluation, int, float]:
        """Compile and answer, or read what was answered before.

        Returns:
            The scores, the optimizer steps that were made, and the minutes that they took in the run that made them.
        """
        folder = self.work / f"world-{self.world}" / f"{self.posts}-posts" / name
        judged, record = World(self.world).posts(split, asked), folder / f"{split}-{asked}.json"
        if not record.is_file():
            program = GMNER(lm=load_vlm(max_batch=32, cache=False))
            start = time.monotonic()
            train = World(self.world).posts("train", self.posts)
            better = program.compile(trainset=train, optimizer=optimizer(), run_dir=folder / "run")
            minutes = (time.monotonic() - start) / 60
            steps = sum(max(entry["step"] for entry in log) for log in better.history.log.values())
            write_predictions(better.batch_posts(judged), folder / f"{split}-{asked}.jsonl")
            with whole_text(record) as file:
                json.dump({"steps": steps, "minutes": minutes, "chosen": better.history.chosen}, file)
        kept = json.loads(record.read_text(encoding="utf-8"))
        answers = read_predictions(folder / f"{split}-{asked}.jsonl")
        return evaluate(answers, judged, progress=False), kept["steps"], kept["minutes"]


def best_rate(work: Path, posts: int, steps: int, rates: Sequence[float]) -> float:
    """The learning rate with which answers alone score best on dev posts of world 0, one seed a rate."""
    if len(rates) == 1:
        return rates[0]
    bench = Bench(work, 0, posts)
    scores = {
        rate: bench.run(
            f"answers-{rate:g}-0", partial(answers_alone, steps, rate, 0), split="dev", asked=DEV_POSTS
        )[0].gmner.f1
        for rate in rates
    }  # fmt: skip
    return max(scores, key=lambda rate: scores[rate])


def measured(args: argparse.Namespace, world: int, posts: int) -> dict[str, list[Evaluation]]:
    """All arms on one world with one number of posts, each with every seed."""
    bench, results = Bench(args.work, world, posts), dict[str, list[Evaluation]]()
    most = most_steps(World(world).posts("train", posts))
    rate = best_rate(args.work, posts, most, args.rates)
    for seed in range(args.seeds):
        scores, steps, minutes = bench.run(f"MCR-{seed}", partial(default, seed), split="test", asked=args.test)
        results.setdefault("MCR()", []).append(scores)
        sys.stderr.write(f"world {world}, {posts} posts, seed {seed}: {steps} steps, {minutes:.1f} minutes\n")
        alone = bench.run(
            f"answers-{rate:g}-{seed}", partial(answers_alone, most, rate, seed), split="test", asked=args.test
        )[0]
        results.setdefault(f"answers alone, {rate:g}", []).append(alone)
        for arm, optimizer in ABLATION.items() if args.ablation else ():
            name = f"{arm.replace(' ', '-')}-{seed}"
            scores = bench.run(name, partial(optimizer, seed), split="test", asked=args.test)[0]
            results.setdefault(arm, []).append(scores)
    return results


def table(results: Mapping[str, Sequence[Evaluation]], title: str, judged: Sequence[Post]) -> str:
    """A Markdown table of one world and one number of posts."""
    everything = range(len(judged))
    base = next(runs for arm, runs in results.items() if arm.startswith("answers alone"))
    rows = [[title, *results], ["---"] * (1 + len(results))]
    rows.append(["GMNER F1", *(_interval(f1_with_interval(runs, everything)) for runs in results.values())])
    rows.append(["less answers alone", *(_interval(gain_with_interval(runs, base)) for runs in results.values())])
    rows.append(["each seed", *(", ".join(f"{e.gmner.f1:.1f}" for e in runs) for runs in results.values())])
    spread = (
        np.std([e.gmner.f1 for e in runs], ddof=1) if len(runs) > 1 else float("nan") for runs in results.values()
    )
    rows.append(["standard deviation over seeds", *(f"{value:.1f}" for value in spread)])
    for name, figure in FIGURES.items():
        values = [[figure(e) for e in runs] for runs in results.values()]
        rows.append([name, *(f"{np.mean(v):.1f} ({min(v):.1f} to {max(v):.1f})" for v in values)])
    return "\n".join(f"| {' | '.join(cell.strip() for cell in row)} |" for row in rows)


def verdicts(results: Mapping[str, Sequence[Evaluation]], posts: int) -> list[str]:
    """What was to be shown, and whether it is."""
    ours = results["MCR()"]
    base = next(runs for arm, runs in results.items() if arm.startswith("answers alone"))
    kept = range(ours[0].posts)
    gain = gain_with_interval(ours, base)[0]
    low, high = f1_with_interval(ours, kept)[1], f1_with_interval(base, kept)[2]
    means = {name: (np.mean([f(e) for e in ours]), np.mean([f(e) for e in base])) for name, f in FIGURES.items()}
    lookalike = means["  on lookalike posts"]
    said = {
        f"at least {WANTED.get(posts, 0.0):g} GMNER F1 above answers alone: {gain:.1f}": gain >= WANTED.get(posts, 0.0),
        f"intervals apart: ours from {low:.1f}, answers alone up to {high:.1f}": low > high,
        "no seed below the mean of answers alone": min(e.gmner.f1 for e in ours) >= f1_with_interval(base, kept)[0],
        "standard deviation over seeds at most 2": len(ours) > 1 and np.std([e.gmner.f1 for e in ours], ddof=1) <= 2,
        f"lookalikes boxed at most half: {lookalike[0]:.1f} of {lookalike[1]:.1f}": lookalike[0] <= lookalike[1] / 2,
        "N-Rate 0": means["N-Rate, %"][0] == 0,
        "MNER F1 no more than 1 below": means["MNER F1"][0] >= means["MNER F1"][1] - 1,
    }
    return [f"- [{'x' if held else ' '}] {what}" for what, held in said.items()]


def _interval(values: tuple[float, float, float]) -> str:
    return "{:.1f} ({:.1f} to {:.1f})".format(*values)


def main() -> None:
    """Run what is missing, and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path("runs/defaults"), help="folder of the runs")
    parser.add_argument("--posts", type=int, nargs="+", default=[100, 200, 1000], help="numbers of training posts")
    parser.add_argument("--worlds", type=int, nargs="+", default=[0], help="seeds of the worlds")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--test", type=int, default=TEST_POSTS, help="held-out posts")
    parser.add_argument(
        "--rates", type=float, nargs="+", default=list(RATES), help="rates of answers alone to try on dev"
    )
    parser.add_argument("--ablation", action="store_true", help="the paper's ablations, too")
    args = parser.parse_args()
    for world in args.worlds:
        for posts in args.posts:
            results = measured(args, world, posts)
            title = f"world {world}, {posts} posts, {args.seeds} seeds, {args.test} held-out posts"
            sys.stdout.write(table(results, title, World(world).posts("test", args.test)) + "\n\n")
            sys.stdout.write("\n".join(verdicts(results, posts)) + "\n\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
