"""`gmner app`: a local page to try programs, compare them and correct posts."""

from __future__ import annotations

import webbrowser
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from gmner.cli import models
from gmner.cli.command import Command
from gmner.cli.options import POSTS, add_dataset, read_labels
from gmner.cli.posts import read_posts
from gmner.cli.printing import print_ids, print_message, print_result
from gmner.signatures.errors import InputError

if TYPE_CHECKING:
    from gmner.app.corrections import CorrectionsFile
    from gmner.app.review import Review
    from gmner.programs.choice import ProgramChoice
    from gmner.signatures.labels import LabelSet


def add_arguments(parser: ArgumentParser) -> None:
    """Add the arguments of `gmner app`."""
    posts = f"correct these posts: {POSTS}"
    parser.add_argument("--posts", type=Path, metavar="POSTS", help=posts)
    answers = "their predictions, which are corrected (default: the annotation of the posts)"
    parser.add_argument("--answers", dest="predictions", type=Path, metavar="PRED.jsonl", help=answers)
    corrections = "file for corrected posts (default: beside POSTS, or corrections.jsonl in the working folder)"
    parser.add_argument("--corrections", type=Path, metavar="FILE.jsonl", help=corrections)
    models.add_program(parser, votes="--votes")
    second = "a second model or bundle, whose answers are shown beside those of the first"
    parser.add_argument("--second", metavar="MODEL", help=second)
    add_dataset(parser)
    port = "port of the page (default: the first free one from 7860)"
    parser.add_argument("--port", type=_port, metavar="N", help=port)
    parser.add_argument("--no-browser", action="store_true", help="do not open the page in a browser")


def run(given: Namespace) -> None:
    """Serve the page until Ctrl-C."""
    from gmner.app.corrections import CorrectionsFile
    from gmner.app.serving import check_gradio, serve
    from gmner.app.settings import AppSettings, default_corrections
    from gmner.programs.choice import check_choice

    if given.predictions is not None and given.posts is None:
        raise InputError("--answers requires --posts", received=str(given.predictions), remedy="Add --posts POSTS")
    check_gradio()
    labels = read_labels(given)
    read = [path for path in (given.posts, given.predictions, *(given.images or ())) if path is not None]
    corrections = CorrectionsFile(given.corrections or default_corrections(given.posts), read)
    choice = models.choice_of(given, labels)
    check_choice(choice, option=models.option_with_votes)
    settings = AppSettings(
        choice=choice,
        second=None if given.second is None else _second(given.second, choice),
        corrections=corrections,
        review=_review(given, corrections, labels),
    )
    serve(settings, lambda address: _started(address, given, corrections), port=given.port)
    print_message("Stopped")


def _second(model: str, first: ProgramChoice) -> ProgramChoice:
    """The second program, with the options of the first one that every program takes."""
    from gmner.programs.choice import ProgramChoice

    limit = first.limit_pictures
    return ProgramChoice(model, confidence=first.confidence, answers=first.answers, limit_pictures=limit)


def _review(given: Namespace, corrections: CorrectionsFile, labels: LabelSet | None) -> Review | None:
    """The corpus to correct, or None."""
    from gmner.app.review import Review
    from gmner.data.readers.answers import read_answers

    if given.posts is None:
        return None
    posts = read_posts(given, given.posts, given.split)
    answers = {}
    if given.predictions is not None:
        answers = {prediction.id: prediction for prediction in read_answers(given.predictions, posts)}
        unknown = sorted(answers.keys() - {post.id for post in posts})
        if len(unknown) == len(answers):
            remedy = "Pass the posts and the split that the predictions were made for"
            fact = "No prediction belongs to any of the posts"
            raise InputError(fact, received=str(given.predictions), remedy=remedy)
        print_ids("Predictions for unknown posts, ignored", unknown)
    return Review(posts, answers, corrections, labels)


def _started(address: str, given: Namespace, corrections: CorrectionsFile) -> None:
    print_result(address)
    print_message(f"Corrections: {corrections.path} ({len(corrections)} so far). Stop with Ctrl-C")
    if not given.no_browser:
        webbrowser.open(address)


def _port(word: str) -> int:
    if not word.isascii() or not word.isdigit() or not 1 <= int(word) <= 65535:
        raise ArgumentTypeError(f"must be an integer from 1 to 65535 (got {word!r})")
    return int(word)


COMMAND = Command(
    "app",
    "open a local page to try programs, compare them and correct posts",
    "gmner app --posts posts.jsonl --answers predictions.jsonl",
    add_arguments,
    run,
)
