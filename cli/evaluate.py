"""`gmner evaluate`: the scores of a file of predictions, under one protocol or all of them."""

from __future__ import annotations

import json
from argparse import ArgumentParser, Namespace
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from gmner.cli.command import Command, FileRules
from gmner.cli.options import GOLD, add_dataset, offer
from gmner.cli.posts import read_posts
from gmner.cli.printing import figure, print_ids, print_message, print_result
from gmner.signatures.errors import InputError

if TYPE_CHECKING:
    from gmner.data.post import Post
    from gmner.data.prediction import Predictions

_PROTOCOL = "paper"


def add_arguments(parser: ArgumentParser) -> None:
    """Add the arguments of `gmner evaluate`."""
    forms = "triples text|TYPE|[x1,y1,x2,y2], or the files of RiVEG, SAKE, UnCo or CCKS-2025"
    predictions = f"predictions: JSONL of `gmner extract`, {forms}"
    parser.add_argument("predictions", type=Path, metavar="PRED", help=predictions)
    parser.add_argument("--gold", type=Path, required=True, metavar="POSTS", help=GOLD)
    add_dataset(parser)
    protocol = "scoring protocol, one of %(names)s, or 'all' to compare them (default: %(default)s)"
    action = parser.add_argument("--protocol", default=_PROTOCOL, metavar="PROTOCOL", help=protocol)
    offer(action, _protocol_names, also=["all"])
    against = "predictions of another system, for a paired significance test"
    parser.add_argument("--against", type=Path, metavar="PRED", help=against)
    made_on = "gold that the predictions were made or published on; differences from --gold are named (format detected)"
    parser.add_argument("--made-on", type=Path, metavar="POSTS", help=made_on)
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables; scores are in percent")


def run(given: Namespace) -> None:
    """Print the scores."""
    from gmner.data.readers.answers import read_answers
    from gmner.data.scoring.score_report import score_report

    posts = read_posts(given, given.gold, given.split)
    predictions = read_answers(given.predictions, posts)
    if posts and all(post.task == "grec" for post in posts):
        _print_expressions(predictions, posts, given)
        return
    others = None if given.against is None else read_answers(given.against, posts)
    if given.made_on is not None:
        _print_differences(posts, given)
    report = score_report(posts, predictions, given.protocol, others)
    print_ids("Posts without a prediction, scored as empty", report.evaluation.missing)
    print_ids("Predictions for unknown posts, ignored", report.evaluation.unknown)
    print_result(json.dumps(report.to_dict(), ensure_ascii=False, indent=1) if given.json else report.summary())


def _print_differences(posts: Sequence[Post], given: Namespace) -> None:
    """Print how the gold differs from the gold of `--made-on`."""
    from gmner.data.readers.choose import detect, read_dataset
    from gmner.data.scoring.gold_version import compare_gold

    joiner = given.joiner if "joiner" in detect(given.made_on).options else None
    differences = compare_gold(posts, read_dataset(given.made_on, given.split, joiner=joiner))
    if differences:
        print_message(f"The predictions were made on other gold: {given.made_on} has {differences.theirs}")
        print_message(f"Differences between {given.gold} and {given.made_on}: {differences}")


def _print_expressions(predictions: Predictions, posts: Sequence[Post], given: Namespace) -> None:
    """Print the scores of generalized referring expressions (GREC).

    Raises:
        InputError: An option is given that these scores do not use.
    """
    from gmner.data.scoring.expressions import evaluate_expressions

    protocol = None if given.protocol == _PROTOCOL else given.protocol
    for option, value in (("--protocol", protocol), ("--against", given.against), ("--made-on", given.made_on)):
        if value is not None:
            fact = f"{option} cannot be used with referring expressions"
            raise InputError(fact, received=str(value), remedy=f"Remove {option}")
    scores = evaluate_expressions(predictions, posts).to_dict()
    answered, ids = {prediction.id for prediction in predictions}, [post.id for post in posts]
    print_ids("Posts without a prediction, scored as without a box", [id_ for id_ in ids if id_ not in answered])
    print_ids("Predictions for unknown posts, ignored", sorted(answered - set(ids)))
    print_ids("Posts that failed, scored as wrong", [prediction.id for prediction in predictions if prediction.error])
    lines = [f"{name} {figure(value)}" for name, value in scores.items()]
    print_result(json.dumps(scores, indent=1) if given.json else "\n".join(lines))


def _protocol_names() -> Iterable[str]:
    from gmner.data.scoring.protocols import PROTOCOLS

    return PROTOCOLS


COMMAND = Command(
    "evaluate",
    "score predictions against gold annotations: F1 of GMNER, MNER and EEG, and modality bias",
    "gmner evaluate predictions.jsonl --gold twitter-gmner/ --split dev --protocol all",
    add_arguments,
    run,
    files=FileRules(standard_input=True),
)
