"""`gmner view`: a file of predictions as an HTML page."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from pathlib import Path

from gmner.cli.command import Command, FileRules
from gmner.cli.files import check_images, written
from gmner.cli.options import POSTS, add_dataset, add_output, positive_int
from gmner.cli.own_outputs import arguments_of, is_result
from gmner.cli.posts import check_any_answered, read_posts
from gmner.cli.printing import posts as counted_posts
from gmner.cli.printing import print_ids, print_message
from gmner.data.listing import distinct_names
from gmner.signatures.errors import InputError


def add_arguments(parser: ArgumentParser) -> None:
    """Add the arguments of `gmner view`."""
    predictions = (
        "predictions of `gmner extract`; with several files, the systems are shown side by side, and what each "
    )
    predictions += "one mended and broke against the first"
    parser.add_argument("predictions", type=Path, nargs="+", metavar="PRED.jsonl", help=predictions)
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
    from gmner.data.readers.answers import read_answers
    from gmner.data.scoring.evaluate import evaluate

    posts = read_posts(given, given.gold or given.posts, given.split)
    systems = {
        name: {prediction.id: prediction for prediction in read_answers(file, posts)}
        for name, file in zip(system_names(given.predictions), given.predictions, strict=True)
    }
    for file, found in zip(given.predictions, systems.values(), strict=True):
        check_any_answered(file, found, posts)
    scored = given.gold and not (posts and all(post.task == "grec" for post in posts))
    scores = {name: evaluate(answers, posts) for name, answers in systems.items()} if scored else None
    pairs = [(post, {name: found[post.id] for name, found in systems.items() if post.id in found}) for post in posts]
    shown = [(post, answers) for post, answers in pairs if answers][: given.limit]
    treated = "scored as empty" if given.gold else "not shown"
    for name, answers in systems.items():
        of = f" of {name}" if len(systems) > 1 else ""
        print_ids(f"Posts without a prediction{of}, {treated}", [post.id for post in posts if post.id not in answers])
        print_ids(f"Predictions{of} for unknown posts, ignored", sorted(answers.keys() - {post.id for post in posts}))
    check_images(given.output, posts)
    own = arguments_of(given)
    with written(given.output, overwrite=given.overwrite, own=own) as place, whole_text(place) as file:
        title = " and ".join(file.name for file in given.predictions)
        file.write(render_html(shown, title=title, scores=scores))
    print_message(f"Wrote a page of {counted_posts(len(shown))} to {given.output}")


def system_names(files: Sequence[Path]) -> list[str]:
    """A name for each file of predictions: `answers` for a single one, else its stem, or as much of its path as needed.

    The suffix belongs to the name if files differ only in it.

    Raises:
        InputError: A file is given twice.
    """
    if len(files) == 1:
        return ["answers"]
    paths = [file.resolve() for file in files]
    twice = next((file for place, file in enumerate(files) if paths[place] in paths[:place]), None)
    if twice is not None:
        raise InputError("A file of predictions is given twice", received=str(twice), accepted="different files")
    stems = [path.with_suffix("") for path in paths]
    return distinct_names(stems if len(set(stems)) == len(paths) else paths)


COMMAND = Command(
    "view",
    "write predictions as an HTML page with highlighted spans and bounding boxes",
    "gmner view predictions.jsonl --gold twitter-gmner/ --split dev -o report.html",
    add_arguments,
    run,
    files=FileRules(may_replace=lambda given, output: is_result([given.output])),
)
