"""Does training on the related tasks help GMNER? Compares MCR on posts of GMNER alone with MCR on a mixture.

Both arms have the same posts of GMNER and the same optimizer steps. The mixture adds as many posts with names alone and
as many referring expressions, all of the same world. Scored on held-out posts of all three tasks; no setting was chosen
on them.

    python benchmarks/mixture.py --work runs/mixture --posts 200 --seeds 3

Runs are kept in the work folder: a stopped benchmark resumes, and finished runs are reused.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from defaults import MIXED
from over_seeds import FIGURES, f1_with_interval, gain_with_interval, interval

from gmner.data.files.atomic import whole_text
from gmner.data.jsonl import read_predictions, write_predictions
from gmner.data.mixing import mix_posts
from gmner.data.post import Post
from gmner.data.scoring.evaluate import evaluate
from gmner.data.scoring.evaluation import Evaluation
from gmner.data.scoring.expressions import evaluate_expressions
from gmner.data.world.generate import World
from gmner.data.world.related import expression_posts, name_posts
from gmner.optimizers.mcr import MCR
from gmner.programs.gmner import GMNER
from gmner.programs.models.loading import load_vlm
from gmner.programs.related_tasks import answer_by_task


def alone(world: World, posts: int) -> list[Post]:
    """Posts of GMNER."""
    return world.posts("train", posts)


def mixed(world: World, posts: int) -> list[Post]:
    """The same posts, as many other ones with names alone, and as many expressions."""
    related = name_posts(world, "train", posts, start=posts), expression_posts(world, "train", posts, start=2 * posts)
    return mix_posts(alone(world, posts), *related)


ARMS: Mapping[str, Callable[[World, int], list[Post]]] = {"GMNER alone": alone, "mixture": mixed}


def optimizer(steps: tuple[int, int], seed: int) -> MCR:
    """MCR with a chain and the answer alone per post, fixed numbers of steps, and no choice of the stage."""
    defaults = MCR(seed=seed, holdout=0)
    assert defaults.mrsi is not None
    assert defaults.cvo is not None
    defaults.mrsi = dataclasses.replace(defaults.mrsi, styles=MIXED, max_steps=steps[0])
    defaults.cvo = dataclasses.replace(defaults.cvo, max_steps=steps[1])
    return defaults


def run(args: argparse.Namespace, arm: str, seed: int) -> tuple[Evaluation, dict[str, float]]:
    """Compile and answer, or read the answers of an earlier run.

    Returns:
        The scores on posts of GMNER, and figures of the related tasks.
    """
    folder = args.work / f"world-{args.world}-{args.posts}-posts" / f"{arm.replace(' ', '-')}-{seed}"
    world, files = World(args.world), {}
    test = {
        "gmner": world.posts("test", args.test),
        "mner": name_posts(world, "test", args.test, start=args.test),
        "grec": expression_posts(world, "test", args.test, start=2 * args.test),
    }
    program: Any = None
    for task, posts in test.items():
        files[task] = folder / f"{task}-{args.test}.jsonl"
        if files[task].is_file():
            continue
        if program is None:
            student = GMNER(lm=load_vlm(max_batch=32, cache=False))
            train = ARMS[arm](world, args.posts)
            program = student.compile(trainset=train, optimizer=optimizer(args.steps, seed), run_dir=folder / "run")
        write_predictions(answer_by_task(program, posts), files[task])
    answers = {task: read_predictions(file) for task, file in files.items()}
    expressions = evaluate_expressions(answers["grec"], test["grec"])
    related = {
        "names alone, MNER F1": evaluate(answers["mner"], test["mner"], progress=False).mner.f1,
        "expressions, precision": expressions.precision,
        "expressions, N-acc": expressions.n_acc or 0.0,
        "expressions, T-acc": expressions.t_acc or 0.0,
    }
    return evaluate(answers["gmner"], test["gmner"], progress=False), related


def table(results: Mapping[str, Sequence[tuple[Evaluation, dict[str, float]]]], title: str, test: int) -> str:
    """Format a Markdown table of both arms."""
    scores = {arm: [evaluation for evaluation, _ in runs] for arm, runs in results.items()}
    rows = [[title, *results], ["---"] * (1 + len(results))]
    rows.append(["GMNER F1", *(interval(f1_with_interval(runs, range(test))) for runs in scores.values())])
    gain = "{:+.1f} ({:+.1f} to {:+.1f})".format(*gain_with_interval(scores["mixture"], scores["GMNER alone"]))
    rows.append(["gain in GMNER F1", "-", gain])
    figures = {name: [[figure(e) for e in runs] for runs in scores.values()] for name, figure in FIGURES.items()}
    figures |= {
        name: [[figures[name] for _, figures in runs] for runs in results.values()]
        for name in next(iter(results.values()))[0][1]
    }
    for name, values in figures.items():
        rows.append([name, *(f"{np.mean(row):.1f} ({min(row):.1f} to {max(row):.1f})" for row in values)])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def main() -> None:
    """Run the missing arms, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path("runs/mixture"), help="folder of the runs")
    parser.add_argument("--posts", type=int, default=200, help="training posts of each task")
    parser.add_argument("--steps", type=int, nargs=2, default=[200, 30], help="optimizer steps of MRSI and of CVO")
    parser.add_argument("--world", type=int, default=0, help="seed of the world")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--test", type=int, default=600, help="held-out posts of each task")
    args = parser.parse_args()
    results: dict[str, list[tuple[Evaluation, dict[str, float]]]] = {arm: [] for arm in ARMS}
    for seed in range(args.seeds):
        for arm, runs in results.items():
            runs.append(run(args, arm, seed))
            sys.stderr.write(
                json.dumps({"arm": arm, "seed": seed, "gmner": runs[-1][0].gmner.f1, **runs[-1][1]}) + "\n"
            )
    title = f"world {args.world}, {args.posts} posts of each task, {args.seeds} seeds, {args.test} held-out posts"
    with whole_text(args.work / "table.md") as file:
        file.write(text := table(results, title, args.test))
    sys.stdout.write(text + "\n")


if __name__ == "__main__":
    main()
