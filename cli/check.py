"""`gmner check`: annotated posts that a compile would refuse, and oddities in their files."""

from __future__ import annotations

import json
from argparse import ArgumentParser, Namespace
from pathlib import Path

from gmner.cli.command import Command
from gmner.cli.options import GOLD, add_dataset, add_labels, read_labels
from gmner.cli.posts import read_posts
from gmner.cli.printing import print_result


def add_arguments(parser: ArgumentParser) -> None:
    """Add the arguments of `gmner check`."""
    parser.add_argument("posts", type=Path, metavar="POSTS", help=GOLD)
    add_dataset(parser)
    add_labels(parser)
    parser.add_argument("--json", action="store_true", help="print JSON instead of text")


def run(given: Namespace) -> int:
    """Print what is wrong with the posts; 1 if a compile would refuse some of them."""
    from gmner.programs.gmner import GMNER
    from gmner.programs.gold_check import check_posts
    from gmner.signatures.labels import COARSE

    labels = read_labels(given) or COARSE
    posts = read_posts(given, given.posts, given.split)
    report = check_posts(posts, labels, tasks=GMNER.tasks)
    if given.json:
        oddities = [{"kind": o.kind, "where": o.where, "message": o.message} for o in posts.oddities]
        print_result(json.dumps({**report.to_dict(), "oddities": oddities}, ensure_ascii=False, indent=1))
    else:
        print_result(f"{posts.report()}\n{report.summary(each=20)}")
    return 1 if report.faults else 0


COMMAND = Command(
    "check",
    "find invalid gold annotations and oddities in data files before a compile",
    "gmner check twitter-gmner/ --split train",
    add_arguments,
    run,
)
