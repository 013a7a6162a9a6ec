"""`gmner view`: a file of predictions as an HTML page."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path

from gmner.cli.command import Command, FileRules
from gmner.cli.files import check_images, written
from gmner.cli.options import POSTS, add_dataset, add_output, positive_int
from gmner.cli.own_outputs import arguments_of, is_result
from gmner.cli.posts import read_posts
from gmner.cli.printing import posts as counted_posts
from gmner.cli.printing import print_ids, print_message
from gmner.signatures.errors import InputError


def add_arguments(parser: ArgumentParser) -> None:
    """Add the arguments of `gmner view`."""
    parser.add_argument("predictions", type=Path, metavar="PRED.jsonl", help="predictions of `gmner extract`")
    posts = parser.add_mutually_exclusive_group(required=True)
    posts.add_argument("--posts", type=Path, metavar="POSTS", help=f"posts: {POSTS}")
    posts.add_argument(
        "--gold", type=Path, metavar="POSTS", help="annotated posts; the page also shows errors and scores"
    )
    add_output(parser, "HTML", "file to write the page to")
    add_dataset(parser)
    parser.add_argument("--limit", type=positive_int, metavar="N", help="show only the first N posts")


def run(given: Namespace) -> None:
    """Write the page."""
    from gmner.data.files.atomic import whole_text
    from gmner.data.pages.answers_page import render_html
    from gmner.data.readers.choose import read_answers
    from gmner.data.scoring.evaluate import evaluate

    posts = read_posts(given, given.gold or given.posts, given.split)
    predictions = {prediction.id: prediction for prediction in read_answers(given.predictions, posts)}
    scores = {"answers": evaluate(predictions, posts)} if given.gold else None
    shown = [(post, {"answers": predictions[post.id]}) for post in posts if post.id in predictions][: given.limit]
    if not shown:
        remedy = "Pass the posts and the split that the predictions were made for"
        raise InputError("No prediction belongs to any of the posts", received=str(given.predictions), remedy=remedy)
    treated = "scored as empty" if given.gold else "not shown"
    print_ids(f"Posts without a prediction, {treated}", [post.id for post in posts if post.id not in predictions])
    print_ids("Predictions for unknown posts, ignored", sorted(predictions.keys() - {post.id for post in posts}))
    check_images(given.output, posts)
    own = arguments_of(given)
    with written(given.output, overwrite=given.overwrite, own=own) as place, whole_text(place) as file:
        file.write(render_html(shown, title=given.predictions.name, scores=scores))
    print_message(f"Wrote a page of {counted_posts(len(shown))} to {given.output}")


COMMAND = Command(
    "view",
    "write predictions as an HTML page with highlighted spans and bounding boxes",
    "gmner view predictions.jsonl --gold twitter-gmner/ --split dev -o report.html",
    add_arguments,
    run,
    files=FileRules(may_replace=lambda given, output: is_result([given.output])),
)
