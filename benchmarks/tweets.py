"""Names in real tweets: a pretrained language model from zero-shot to MCR, on the texts of Twitter-GMNER.

The images are left out, so the task is MNER: names and types. All trained arms have the same posts and the same number
of optimizer steps, and train LoRA adapters. The learning rate of each arm is the best of `--rates` on the first 300
tweets of `dev` with one seed; all scores are of other tweets: the rest of `dev`, or `--split test`.

    python benchmarks/smollm2.py runs/smollm2                    # says how to install the language model
    python benchmarks/tweets.py --gold twitter-gmner/ --model runs/smollm2 --work runs/tweets
    python benchmarks/tweets.py --gold twitter-gmner/ --model runs/smollm2 --work runs/tweets --posts 7000 --seeds 1

Any vision-language model serves as `--model`. With `--dtype bfloat16`, training computes in bfloat16 too: about twice
as fast on processors with bfloat16 units (`avx512_bf16` or `amx_bf16` in /proc/cpuinfo), and slow on others. Runs are
kept in the work folder: a stopped benchmark resumes, and finished runs are reused.

Arms:

    zero-shot       the model as it is
    few-shot        four annotated tweets in the prompt
    answers alone   trained on answers
    MRSI            trained on chains in two styles
    MCR             MRSI, then CVO at its default rate, with the rewards for count, span and type
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import dspy
from over_seeds import f1_with_interval, gain_with_interval, interval

from gmner.data.files.atomic import whole_text
from gmner.data.jsonl import read_predictions, write_predictions
from gmner.data.post import Post
from gmner.data.readers.twitter import read_twitter_gmner
from gmner.data.scoring.evaluate import evaluate
from gmner.data.scoring.evaluation import Evaluation
from gmner.optimizers.chains.styles import TEMPLATES, plain
from gmner.optimizers.cvo import CVO
from gmner.optimizers.mcr import MCR
from gmner.optimizers.mrsi import MRSI
from gmner.optimizers.rewards import DEFAULT_WEIGHTS
from gmner.programs.gmner import GMNER
from gmner.programs.mner import MNER
from gmner.programs.models.loading import load_vlm
from gmner.programs.peak_memory import process_peak
from gmner.programs.related_tasks import answer_by_task
from gmner.signatures.errors import GmnerError, InputError
from gmner.signatures.number_checks import check_integer

CHOSEN_ON = 300
"""Tweets of `dev` on which learning rates are chosen."""

STYLES = {name: TEMPLATES[name] for name in ("stepwise", "text_first")}
REWARDS = {name: DEFAULT_WEIGHTS[name] for name in ("count", "span", "type")}


@dataclass(frozen=True)
class Settings:
    """What one run depends on.

    Attributes:
        steps: Optimizer steps.
        cvo_steps: Those of CVO in `MCR`.
        rate: Learning rate of supervised fine-tuning; that of CVO is the default.
        seed: Seed of order, chains and sampling.
        bf16: Whether training computes in bfloat16; the adapter is float32.
    """

    steps: int
    cvo_steps: int
    rate: float
    seed: int
    bf16: bool = False

    @property
    def options(self) -> dict[str, bool]:
        """Options of TRL's configurations."""
        return {"bf16": True} if self.bf16 else {}


Build = Callable[[Settings], MCR]


def injection(settings: Settings, steps: int, **more: Any) -> MRSI:
    """MRSI with a LoRA adapter."""
    return MRSI(
        max_steps=steps, batch=16, micro_batch=4, rate=settings.rate, tuning="lora-frozen-vision",
        sft_options=settings.options, **more,
    )  # fmt: skip


def answers_alone(settings: Settings) -> MCR:
    """Training on answers."""
    mrsi = injection(settings, settings.steps, styles={"plain": plain})
    return MCR(mrsi=mrsi, cvo=None, holdout=0, seed=settings.seed)


def chains(settings: Settings) -> MCR:
    """Training on chains."""
    return MCR(mrsi=injection(settings, settings.steps, styles=STYLES), cvo=None, holdout=0, seed=settings.seed)


def both(settings: Settings) -> MCR:
    """MRSI, then CVO."""
    mrsi = injection(settings, settings.steps - settings.cvo_steps, styles=STYLES)
    cvo = CVO(
        rewards=REWARDS, max_steps=settings.cvo_steps, prompts=4, micro_batch=8, tuning="lora-frozen-vision",
        max_completion_length=320, grpo_options=settings.options,
    )  # fmt: skip
    return MCR(mrsi=mrsi, cvo=cvo, holdout=0, seed=settings.seed)


TRAINED: Mapping[str, Build] = {"answers alone": answers_alone, "MRSI": chains, "MCR": both}
ARMS = ("zero-shot", "few-shot", *TRAINED)


def text_only(post: Post) -> Post:
    """A tweet without its image, with names and types."""
    names = tuple(replace(entity, boxes=()) for entity in post.gold)
    return replace(post, image=None, more_images=(), entities=names, grounded=False)


@dataclass(frozen=True)
class Bench:
    """The tweets, the model and the work folder.

    Attributes:
        work: Folder of the runs.
        model: A model of `gmner.load_vlm`.
        dtype: Its precision.
        train: Training tweets.
        chosen_on: Tweets on which learning rates are chosen.
        test: Tweets that are scored.
    """

    work: Path
    model: str
    dtype: str
    train: Sequence[Post]
    chosen_on: Sequence[Post]
    test: Sequence[Post]

    def run(self, arm: str, settings: Settings, posts: Sequence[Post], name: str) -> tuple[Evaluation, dict[str, Any]]:
        """Compile and answer, or read the answers of an earlier run.

        Args:
            arm: The arm.
            settings: Its settings.
            posts: The tweets to answer.
            name: What they are called in the work folder.

        Returns:
            The scores, and `minutes` of training (of its last part if it was resumed), `tokens_per_second` of answering
            and `peak_gib` of the process so far.
        """
        place = "-".join([arm.replace(" ", "-"), *(f"{value:g}" for value in asdict(settings).values())])
        folder = self.work / f"{len(self.train)}-tweets" / place
        file, record = folder / f"{name}-{len(posts)}.jsonl", folder / f"{name}-{len(posts)}.json"
        if not record.is_file():
            began = time.monotonic()
            program = self._program(arm, settings, folder / "run")
            figures: dict[str, Any] = {"minutes": (time.monotonic() - began) / 60}
            began = time.monotonic()
            with dspy.track_usage() as usage:
                answers = answer_by_task(program, posts) if isinstance(program, GMNER) else program.batch_posts(posts)
            tokens = sum(total.get("completion_tokens", 0) for total in usage.get_total_tokens().values())
            write_predictions(answers, file)
            figures |= {"tokens_per_second": tokens / (time.monotonic() - began), "peak_gib": process_peak() / 2**30}
            with whole_text(record) as out:
                json.dump(figures, out)
        return evaluate(read_predictions(file), posts, progress=False), json.loads(record.read_text(encoding="utf-8"))

    def _program(self, arm: str, settings: Settings, run_dir: Path) -> Any:
        lm = load_vlm(self.model, dtype=self.dtype, cache=False)
        if arm in TRAINED:
            return GMNER(lm).compile(trainset=self.train, optimizer=TRAINED[arm](settings), run_dir=run_dir)
        if arm == "zero-shot":
            return MNER(lm)
        first = 4 * settings.seed
        examples = [MNER(lm).example_of(post) for post in self.train[first : first + 4]]
        program = dspy.LabeledFewShot(k=4).compile(MNER(lm), trainset=examples)
        program.set_lm(lm)  # DSPy's copy has no model
        return program


def settings_of(args: argparse.Namespace, rate: float, seed: int) -> Settings:
    """The settings of one run: two epochs of the tweets in batches of 16, of which CVO gets a quarter."""
    steps = args.steps or max(1, round(2 * args.posts / 16))
    return Settings(steps, max(1, steps // 4), rate, seed, args.dtype == "bfloat16")


def best_rate(bench: Bench, arm: str, args: argparse.Namespace) -> float:
    """The rate with the highest MNER F1 on the tweets for choosing, with one seed for each rate."""
    if arm not in TRAINED or len(args.rates) == 1:
        return float(args.rates[0])
    scores = {
        rate: bench.run(arm, settings_of(args, rate, 0), bench.chosen_on, "chosen-on")[0].mner.f1 for rate in args.rates
    }
    return max(scores, key=lambda rate: scores[rate])


def table(results: Mapping[str, Sequence[tuple[Evaluation, dict[str, Any]]]], posts: int) -> str:
    """Format a Markdown table of the arms."""
    rows = [["", "MNER F1", "gain over answers alone", "each seed", "training, minutes", "tokens/s", "peak GiB"]]
    rows.append(["---"] * len(rows[0]))
    scores = {arm: [evaluation for evaluation, _ in runs] for arm, runs in results.items()}
    for arm, runs in results.items():
        mean = interval(f1_with_interval(scores[arm], range(posts), "mner"))
        base = scores.get("answers alone")
        gain = "{:+.1f} ({:+.1f} to {:+.1f})".format(*gain_with_interval(scores[arm], base, "mner")) if base else "-"
        costs = [
            f"{sum(figures[name] for _, figures in runs) / len(runs):.1f}"
            for name in ("minutes", "tokens_per_second", "peak_gib")
        ]
        rows.append([arm, mean, gain, ", ".join(f"{e.mner.f1:.1f}" for e in scores[arm]), *costs])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def bench_of(args: argparse.Namespace) -> Bench:
    """Read the tweets.

    Raises:
        InputError: A folder or split does not exist, a number is not positive, or a split has too few tweets.
    """
    for name in ("posts", "seeds", "steps", "test"):
        check_integer(f"--{name}", getattr(args, name), optional=True)
    read = partial(read_twitter_gmner, args.gold)
    dev, train = ([text_only(post) for post in read(split)] for split in ("dev", "train"))
    scored = dev[CHOSEN_ON:] if args.split == "dev" else [text_only(post) for post in read("test")]
    if not scored:
        fact = f"No tweet of dev is left to score: learning rates are chosen on the first {CHOSEN_ON}"
        raise InputError(fact, received=f"{len(dev)} tweets", remedy="Pass --split test, or the whole data set")
    if len(train) < args.posts:
        raise InputError("--posts exceeds the training split", received=args.posts, accepted=f"up to {len(train)}")
    return Bench(args.work, args.model, args.dtype, train[: args.posts], dev[:CHOSEN_ON], scored[: args.test])


def main() -> None:
    """Run what is missing, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gold", type=Path, required=True, help="folder of Twitter-GMNER")
    parser.add_argument("--model", required=True, help="model folder or Hub id")
    parser.add_argument(
        "--dtype", default="auto", help="precision (default: that of the checkpoint; training: float32)"
    )
    parser.add_argument("--work", type=Path, default=Path("runs/tweets"), help="folder of the runs")
    parser.add_argument("--posts", type=int, default=1000, help="training tweets")
    parser.add_argument("--steps", type=int, help="optimizer steps (default: two epochs)")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--rates", type=float, nargs="+", default=[2e-4, 5e-4, 1e-3], help="learning rates to try")
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=list(ARMS))
    parser.add_argument("--split", choices=("dev", "test"), default="dev", help="split that is scored")
    parser.add_argument("--test", type=int, help="tweets that are scored (default: all)")
    args = parser.parse_args()
    try:
        bench = bench_of(args)
    except GmnerError as error:
        sys.exit(f"{parser.prog}: {error}")
    results: dict[str, list[tuple[Evaluation, dict[str, Any]]]] = {}
    for arm in args.arms:
        rate = best_rate(bench, arm, args)
        seeds = range(1 if arm == "zero-shot" else args.seeds)
        results[arm] = [bench.run(arm, settings_of(args, rate, seed), bench.test, args.split) for seed in seeds]
        sys.stderr.write(f"{arm}: rate {rate:g}, MNER F1 {[round(e.mner.f1, 1) for e, _ in results[arm]]}\n")
    with whole_text(args.work / "table.md") as file:
        file.write(text := table(results, len(bench.test)))
    sys.stdout.write(text + "\n")


if __name__ == "__main__":
    main()
