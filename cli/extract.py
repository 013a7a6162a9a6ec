"""`gmner extract`: predictions for posts."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from gmner.cli import models
from gmner.cli.command import Command, FileRules
from gmner.cli.files import STANDARD, check_images
from gmner.cli.options import POSTS, add_dataset, add_output, positive_int
from gmner.cli.posts import add_with_pictures, read_wanted_posts, report_missing_images
from gmner.cli.printing import posts as counted_posts
from gmner.cli.printing import print_failures, print_message
from gmner.signatures.errors import InputError
from gmner.signatures.terminal import printable

if TYPE_CHECKING:
    from gmner.data.post import Post
    from gmner.data.prediction import Prediction
    from gmner.programs.program import GroundingProgram


def add_arguments(parser: ArgumentParser) -> None:
    """Add the arguments of `gmner extract`."""
    parser.add_argument("posts", type=Path, metavar="POSTS", help=POSTS)
    add_output(parser, "PRED.jsonl", "file to write the predictions to")
    models.add_program(parser)
    models.add_task(parser)
    add_dataset(parser)
    add_with_pictures(parser)
    parser.add_argument("--limit", type=positive_int, metavar="N", help="process only the first N posts")
    threads = "number of posts processed in parallel (default: depends on the model)"
    parser.add_argument("--threads", type=positive_int, metavar="N", help=threads)


def run(given: Namespace) -> int:
    """Write a prediction for each post; 1 if every post failed."""
    posts = read_wanted_posts(given, given.posts, given.split, given.limit)
    if not posts:
        raise InputError("No posts to process", received=str(given.posts))
    check_images(given.output, posts)
    if given.task is None and all(post.task == "grec" for post in posts):
        given.task = "grec"
    program = models.program_of(given)
    report_missing_images(posts)
    with models.failures("The predictions so far are kept; run the same command again to resume"):
        predictions = _predict(given, program, posts)
    print_message(f"Wrote predictions for {counted_posts(len(predictions))} to {given.output}")
    failed = [(prediction.id, prediction.error) for prediction in predictions if prediction.error]
    print_failures(Counter(reason["kind"] for _, reason in failed), "; the file gives the reasons")
    for id_, reason in {reason["kind"]: (id_, reason) for id_, reason in reversed(failed)}.values():
        print_message(f"For example {id_}: {reason['message']}")
    return int(len(failed) == len(predictions))


def _predict(given: Namespace, program: GroundingProgram, posts: Sequence[Post]) -> Sequence[Prediction]:
    """Write predictions to a file, where a run can be resumed, or to standard output."""
    from gmner.data.jsonl import record_line
    from gmner.programs.corpus import extract_corpus

    if given.output == STANDARD:
        predictions = program.batch_posts(posts, threads=given.threads)
        sys.stdout.writelines(printable(record_line(prediction.to_record())) + "\n" for prediction in predictions)
        return predictions
    images = None if given.images is None else ", ".join(str(folder.resolve()) for folder in given.images)
    arguments = {"--images": images}
    return extract_corpus(
        program, posts, given.output, threads=given.threads, overwrite=given.overwrite, arguments=arguments
    )


COMMAND = Command(
    "extract",
    "predict entities with types and bounding boxes, one JSON line per post",
    "gmner extract posts.jsonl -o predictions.jsonl --model Qwen/Qwen2.5-VL-7B-Instruct",
    add_arguments,
    run,
    resumes=True,
    files=FileRules(
        standard_input=True,
        standard_output=True,
        kept_beside=(".part", ".run.json"),
        may_replace=lambda given, output: True,  # `extract_corpus` recognizes its own file
    ),
)
