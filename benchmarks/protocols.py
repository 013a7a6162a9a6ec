"""Scores the same predictions with every protocol.

The predictions are not from a model: they are the gold of a data set with random errors of the kinds that systems make
and that protocols treat differently. The table shows how far the scores of different protocols can be apart.

    python benchmarks/protocols.py                                          # on posts of the world
    python benchmarks/protocols.py --gold twitter-gmner/ --split dev        # on Twitter-GMNER
    python benchmarks/protocols.py --gold twitter-gmner/ --split dev --markdown
"""

from __future__ import annotations

import argparse
import random
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from gmner.data.post import Post
from gmner.data.prediction import Prediction
from gmner.data.readers.choose import read_dataset
from gmner.data.scoring.counts import types_of
from gmner.data.scoring.protocols import PROTOCOLS
from gmner.data.scoring.score_report import protocol_scores, protocol_table
from gmner.data.world.generate import World
from gmner.signatures.boxes import Box
from gmner.signatures.mentions import GoldEntity, GroundedEntity

ANYWHERE = Box(3.0, 5.0, 60.0, 70.0)


def damaged(posts: Sequence[Post], seed: int = 0) -> list[Prediction]:
    """Gold with random errors: missed or repeated entities, other or unknown types, wrong boxes or half of a box."""
    rng = random.Random(seed)
    types = sorted(types_of(posts))
    return [Prediction(post.id, post.text, "", tuple(_answers(post.gold, types, rng))) for post in posts]


def _answers(gold: Sequence[GoldEntity], types: Sequence[str], rng: random.Random) -> Iterator[GroundedEntity]:
    for entity in gold:
        if rng.random() < 0.1:
            continue
        kind = rng.choice(types) if rng.random() < 0.1 else entity.type
        answer = GroundedEntity(entity.span, entity.start, entity.end, kind, _region(entity, rng))
        yield answer
        draw = rng.random()
        if draw < 0.02:
            yield answer
        elif draw < 0.04:
            yield replace(answer, type="UNKNOWN")


def _region(entity: GoldEntity, rng: random.Random) -> Box | None:
    """With probability 0.75 a correct region; otherwise None, another box, or exactly half of a gold box."""
    right = rng.choice(entity.boxes) if entity.boxes else None
    if rng.random() < 0.75:
        return right
    if right is None:
        return ANYWHERE
    return rng.choice((None, ANYWHERE, replace(right, y2=(right.y1 + right.y2) / 2)))


def markdown(posts: Sequence[Post], answers: Sequence[Prediction]) -> str:
    """Format the table of the documentation: F1 by protocol, and the differences between the protocols."""
    rows = ["| protocol | GMNER | MNER | EEG | differences |", "|---|---|---|---|---|"]
    for name, tasks in protocol_scores(posts, answers).items():
        cells = " | ".join(f"{tasks[task].f1:.2f}" for task in ("gmner", "mner", "eeg"))
        rows.append(f"| `{name}` | {cells} | {PROTOCOLS[name].oddity} |")
    return "\n".join(rows)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gold", type=Path, help="annotated posts (default: 1,500 posts of the world)")
    parser.add_argument("--split", default="dev")
    parser.add_argument("--seed", type=int, default=0, help="seed of the random errors")
    parser.add_argument("--markdown", action="store_true")
    args = parser.parse_args()
    posts = list(World().posts("test", 1500) if args.gold is None else read_dataset(args.gold, args.split))
    answers = damaged(posts, args.seed)
    table = markdown(posts, answers) if args.markdown else protocol_table(protocol_scores(posts, answers))
    sys.stdout.write(table + "\n")


if __name__ == "__main__":
    main()
