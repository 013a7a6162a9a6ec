"""Measures time and peak memory of reading a Twitter-GMNER split, and of scoring its posts with every protocol.

The ratio to a plain loop is comparable between machines. The loop does less: no checks, no report, no intervals, and
only one task. Times are CPU times of this process, the best of several rounds. Peak memory is what Python allocates
during a further call.

    python benchmarks/scoring.py --gold twitter-gmner/ --split train
"""

from __future__ import annotations

import argparse
import logging
import sys
import tracemalloc
from collections.abc import Callable, Sequence
from pathlib import Path
from time import process_time

from defusedxml.ElementTree import parse
from protocols import damaged

from gmner.data.post import Post
from gmner.data.prediction import Prediction
from gmner.data.readers.twitter import read_twitter_gmner
from gmner.data.scoring.counts import types_of
from gmner.data.scoring.evaluate import evaluate
from gmner.data.scoring.protocols import PROTOCOLS

_ROW = "{:<34} {:>8.3f} s {:>8.1f} MB {:>8.2f} x plain\n"


def plain_read(root: Path, split: str) -> list[tuple[list[str], list[str], list[tuple[str, list[float]]]]]:
    """Read tokens, tags and named boxes of every tweet without checks."""
    tweets = []
    for block in (root / "txt" / f"{split}.txt").read_text(encoding="utf-8").strip().split("\n\n"):
        head, *lines = block.split("\n")
        rows = [line.split("\t") for line in lines]
        path, boxes = root / "xml" / f"{head.removeprefix('IMGID:').strip()}.xml", []
        if path.exists():
            for item in parse(path).iter("object"):
                corners = [float(item.findtext(f"bndbox/{name}")) for name in ("xmin", "ymin", "xmax", "ymax")]
                boxes.append((item.findtext("name"), corners))
        tweets.append(([row[0] for row in rows], [row[1] for row in rows], boxes))
    return tweets


def plain_score(posts: Sequence[Post], answers: Sequence[Prediction]) -> float:
    """GMNER F1 with the rule of the paper, matching each prediction with the first free gold mention."""
    correct = predicted = gold_count = 0
    for post, answer in zip(posts, answers, strict=True):
        free = list(post.gold)
        for entity in answer.entities:
            for gold in free:
                if (gold.start, gold.end, gold.type) != (entity.start, entity.end, entity.type):
                    continue
                boxes = [entity.box] if entity.box else []
                if not (boxes or gold.boxes) or any(_iou(box, b) > 0.5 for box in boxes for b in gold.boxes):
                    correct += 1
                    free.remove(gold)
                    break
        predicted, gold_count = predicted + len(answer.entities), gold_count + len(post.gold)
    return 200 * correct / (predicted + gold_count)


def _iou(a: object, b: object) -> float:
    width = min(a.x2, b.x2) - max(a.x1, b.x1)
    height = min(a.y2, b.y2) - max(a.y1, b.y1)
    if width <= 0 or height <= 0:
        return 0.0
    intersection = width * height
    return intersection / ((a.x2 - a.x1) * (a.y2 - a.y1) + (b.x2 - b.x1) * (b.y2 - b.y1) - intersection)


def measure(work: Callable[[], object], rounds: int) -> tuple[float, float]:
    """CPU seconds of the fastest of several calls, and peak memory in MB of a further call."""
    times = []
    for _ in range(rounds):
        start = process_time()
        work()
        times.append(process_time() - start)
    tracemalloc.start()
    work()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return min(times), peak / 1e6


def main() -> None:
    """Measure, and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gold", type=Path, required=True, help="a Twitter-GMNER folder")
    parser.add_argument("--split", default="train")
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    logging.disable(logging.WARNING)
    posts = list(read_twitter_gmner(args.gold, args.split))
    answers, types = damaged(posts), types_of(posts)

    def count(name: str) -> None:
        for post, answer in zip(posts, answers, strict=True):
            PROTOCOLS[name](post.gold, answer.entities, types)

    base = measure(lambda: plain_read(args.gold, args.split), args.rounds)
    _say("plain loop that reads", base, base)
    _say(
        f"read_twitter_gmner, {len(posts):,} posts",
        measure(lambda: read_twitter_gmner(args.gold, args.split), args.rounds),
        base,
    )
    base = measure(lambda: plain_score(posts, answers), args.rounds)
    _say("plain loop that scores", base, base)
    for name in PROTOCOLS:
        _say(f"protocol {name}", measure(lambda name=name: count(name), args.rounds), base)
    _say("evaluate with protocol paper", measure(lambda: evaluate(answers, posts), args.rounds), base)


def _say(label: str, figures: tuple[float, float], base: tuple[float, float]) -> None:
    sys.stdout.write(_ROW.format(label, *figures, figures[0] / base[0]))
    sys.stdout.flush()


if __name__ == "__main__":
    main()
