"""Measures how many completions per second the five rewards of CVO score on one core.

The ratio to `json.loads` of the same completions is comparable between machines. Both are measured alternately as CPU
time of this process, and the best of several rounds is used. The answers are typical: one sentence of reasoning and two
entities, one of them with a box.

    python benchmarks/rewards.py
    python benchmarks/rewards.py --at-least 20000        # exit status 1 if fewer
"""

from __future__ import annotations

import argparse
import json
import random
import sys
from collections.abc import Callable, Iterator
from time import process_time
from typing import Any

from gmner.data.post import Post
from gmner.optimizers.rewards import cvo, judge, reward_columns
from gmner.signatures.boxes import Box, BoxFormat
from gmner.signatures.mentions import GoldEntity
from gmner.signatures.wire import Frame, render_answer

TEXT = "RT @ anyone : Kevin Durant cries at the MVP speech in front of his mother and everybody else # thunder http://t.co/x"
REASONING = "The picture shows a man in a suit at a microphone, so Kevin Durant is shown; the MVP award itself is not."
FRAME = Frame(BoxFormat(), (640, 480))
GENERATIONS = 8


def entities(box: Box) -> list[GoldEntity]:
    """Two mentions, of which the first is shown."""
    spans = (("Kevin Durant", "PER", (box,)), ("MVP", "OTHER", ()))
    return [GoldEntity(s, TEXT.index(s), TEXT.index(s) + len(s), t, boxes) for s, t, boxes in spans]


def batches(count: int, size: int) -> Iterator[tuple[list[Any], dict[str, list[Any]]]]:
    """Batches as passed by TRL: eight different completions per post, with the columns repeated for each."""
    draw = random.Random(0)
    for batch in range(count):
        completions, rows = [], []
        for row in range(size):
            post = Post("p", f"{TEXT} {batch} {row // GENERATIONS}", entities=tuple(entities(Box(200, 40, 420, 480))))
            box = Box(draw.randint(0, 300), draw.randint(0, 60), draw.randint(300, 640), draw.randint(240, 480))
            pairs = [(e, box if e.boxes else None) for e in entities(box)]
            text = render_answer(f"{REASONING} {batch} {row}", pairs, FRAME)
            completions.append([{"role": "assistant", "content": text}])
            rows.append(reward_columns(post, FRAME))
        yield completions, {name: [row[name] for row in rows] for name in rows[0]}


def seconds(work: Callable[[], object]) -> float:
    """CPU time of one call."""
    start = process_time()
    work()
    return process_time() - start


def main() -> int:
    """Measure, print the figures, and compare them with `--at-least`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batches", type=int, default=8)
    parser.add_argument("--batch-size", type=int, default=512, help="completions per batch (posts times generations)")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--at-least", type=float, default=0.0, help="required completions per second")
    args = parser.parse_args()
    data, functions = list(batches(args.batches, args.batch_size)), cvo()
    total = args.batches * args.batch_size

    def score() -> None:
        for completions, columns in data:
            for reward in functions:
                reward(completions=completions, **columns)

    def load() -> None:
        for completions, _ in data:
            for completion in completions:
                json.loads(completion[0]["content"])

    scoring, loading = [], []
    for _ in range(args.rounds):
        judge.cache_clear()
        scoring.append(seconds(score))
        loading.append(seconds(load))
    speed, bare = total / min(scoring), total / min(loading)
    sys.stdout.write(
        f"five rewards        {speed:>10,.0f} completions per second on one core ({total} different completions)\n"
        f"json.loads alone    {bare:>10,.0f} completions per second\n"
        f"ratio               {bare / speed:>10.1f} times the time of json.loads\n"
    )
    return int(speed < args.at_least)


if __name__ == "__main__":
    raise SystemExit(main())
