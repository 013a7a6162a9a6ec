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
from gmner.cli.options import MODEL, POSTS, add_dataset, add_labels, add_output, positive_int, read_labels
from gmner.cli.posts import read_posts
from gmner.cli.printing import posts as counted_posts
from gmner.cli.printing import print_failures, print_message
from gmner.signatures.errors import GmnerError, InputError, ServerError
from gmner.signatures.terminal import printable

if TYPE_CHECKING:
    from gmner.data.post import Post
    from gmner.data.prediction import Prediction
    from gmner.programs.program import GroundingProgram


def add_arguments(parser: ArgumentParser) -> None:
    """Add the arguments of `gmner extract`."""
    parser.add_argument("posts", type=Path, metavar="POSTS", help=POSTS)
    add_output(parser, "PRED.jsonl", "file to write the predictions to")
    parser.add_argument("--model", metavar="MODEL", help=MODEL)
    add_labels(parser)
    server = "OpenAI-compatible server, such as vLLM's http://localhost:8000/v1; its key is read from OPENAI_API_KEY"
    parser.add_argument("--server", metavar="URL", help=server)
    served = "name of the model on the server (default: its only model)"
    parser.add_argument("--served", metavar="NAME", help=served)
    add_dataset(parser)
    parser.add_argument("--limit", type=positive_int, metavar="N", help="process only the first N posts")
    staged = "use three model calls per post: extract, verify and ground"
    parser.add_argument("--staged", action="store_true", help=staged)
    votes = "sample N answers per post and take a majority vote (default: 1, no sampling)"
    parser.add_argument("--answers", type=positive_int, default=1, metavar="N", help=votes)
    confidence = "add the model's confidence, from 0 to 1, to each entity"
    parser.add_argument("--confidence", action="store_true", help=confidence)
    threads = "number of posts processed in parallel (default: depends on the model)"
    parser.add_argument("--threads", type=positive_int, metavar="N", help=threads)


def run(given: Namespace) -> int:
    """Write a prediction for each post; 1 if every post failed."""
    posts = read_posts(given, given.posts, given.split)[: given.limit]
    if not posts:
        raise InputError("No posts to process", received=str(given.posts))
    check_images(given.output, posts)
    program = _program(given)
    program.confidence, program.answers = given.confidence, given.answers
    try:
        predictions = _predict(given, program, posts)
    except (GmnerError, OSError):
        raise
    except Exception as error:
        from gmner.programs.error_causes import error_line

        fact = "The run stopped because the model also failed on a short test text without an image"
        remedy = "The predictions so far are kept; run the same command again to resume"
        raise ServerError(fact, received=error_line(error), remedy=remedy) from error
    print_message(f"Wrote predictions for {counted_posts(len(predictions))} to {given.output}")
    failed = [(prediction.id, prediction.error) for prediction in predictions if prediction.error]
    print_failures(Counter(reason["kind"] for _, reason in failed), "; the file gives the reasons")
    for id_, reason in {reason["kind"]: (id_, reason) for id_, reason in reversed(failed)}.values():
        print_message(f"For example {id_}: {reason['message']}")
    return int(len(failed) == len(predictions))


def _program(given: Namespace) -> GroundingProgram:
    labels = read_labels(given)
    if given.server is not None:
        return models.served_program(given, labels)
    if given.served is not None:
        raise InputError("--served requires --server", received=given.served, remedy="Add --server URL")
    if given.model is None:
        print_message("The embedded model only knows its synthetic world; for real posts, choose a model with --model")
    return models.load_program(given.model, staged=given.staged, labels=labels)


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
