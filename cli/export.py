"""`gmner export`: posts, and predictions if given, in the format of another tool."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from gmner.cli.command import Command, FileRules
from gmner.cli.files import STANDARD, check_images, write_beside, write_into, written
from gmner.cli.options import GOLD, Names, add_dataset, add_output, positive_int, read_labels
from gmner.cli.own_outputs import arguments_of, is_result
from gmner.cli.posts import check_any_answered, read_posts
from gmner.cli.printing import posts as counted_posts
from gmner.cli.printing import print_ids, print_message
from gmner.data.files.outputs import check_inputs, is_stream
from gmner.signatures.errors import InputError

if TYPE_CHECKING:
    from gmner.data.export.exporter import Exporter
    from gmner.data.post import Post
    from gmner.data.prediction import Prediction
    from gmner.signatures.labels import LabelSet


def add_arguments(parser: ArgumentParser) -> None:
    """Add the arguments of `gmner export`."""
    formats = Names(_format_names)
    parser.add_argument("--to", required=True, choices=formats, metavar="FORMAT", help="format to write: %(choices)s")
    parser.add_argument("--gold", type=Path, required=True, metavar="POSTS", help=GOLD)
    predictions = "predictions to write: pre-annotations for label-studio, results for coco"
    parser.add_argument("--predictions", type=Path, metavar="PRED", help=predictions)
    least = "write only the N posts whose predictions are the least sure (of gmner extract --confidence)"
    parser.add_argument("--least-sure", type=positive_int, metavar="N", help=least)
    urls = "prefix of image file names in the tasks of label-studio (default: /data/local-files/?d=)"
    parser.add_argument("--image-url", metavar="PREFIX", help=urls)
    choices = "entity types to choose from in label-studio, besides those that occur: names separated by commas, or a "
    choices += "JSON file as in extract (default: PER,LOC,ORG,OTHER if no others occur)"
    parser.add_argument("--labels", metavar="A,B", help=choices)
    add_output(parser, "OUT", "file to write to; for voc, a folder")
    add_dataset(parser)


def run(given: Namespace) -> None:
    """Write the posts."""
    from gmner.data.export.write import write_export

    exporter = _exporter(given)
    posts: Sequence[Post] = read_posts(given, given.gold, given.split)
    predictions = None if given.predictions is None else _predictions(given, posts, exporter)
    labels = _choices(given, posts, predictions, exporter)  # of all posts: a person may need any of them
    if given.least_sure is not None:
        posts, predictions = _least_sure(given, posts, predictions)
    if exporter.folder and given.output == STANDARD:
        fact = f"The format {exporter.name} is written to a folder, not to standard output"
        raise InputError(fact, received="-", accepted="a path with -o")
    write = partial(write_export, given.to, posts, predictions, split=given.split, image_url=given.image_url,
                    labels=labels)  # fmt: skip
    _write(given, posts, exporter, write)
    print_message(f"Wrote {counted_posts(len(posts))} to {given.output}")


def _exporter(given: Namespace) -> Exporter:
    from gmner.data.export.exporters import EXPORTERS

    return EXPORTERS[given.to]


def _choices(
    given: Namespace, posts: Sequence[Post], predictions: list[Prediction] | None, exporter: Exporter
) -> LabelSet | None:
    """The types that people can choose in the other tool."""
    from gmner.data.export.source import types_of_all

    labels = read_labels(given)
    return types_of_all(posts, predictions, labels) if exporter.has_choices else labels


def _predictions(given: Namespace, posts: Sequence[Post], exporter: Exporter) -> list[Prediction]:
    """The predictions for these posts."""
    from gmner.data.readers.answers import read_answers

    known = {post.id for post in posts}
    everything = read_answers(given.predictions, posts)
    check_any_answered(given.predictions, {prediction.id for prediction in everything}, posts)
    predictions = [prediction for prediction in everything if prediction.id in known]
    print_ids("Predictions for unknown posts, ignored", [p.id for p in everything if p.id not in known])
    entities = [entity for prediction in predictions for entity in prediction.entities]
    unsure = sum(entity.box is not None and entity.confidence is None for entity in entities)
    if exporter.needs_confidence and unsure:
        print_message(f"Boxes without a confidence get the score 1.0 ({unsure:,}); use gmner extract --confidence")
    return predictions


def _least_sure(
    given: Namespace, posts: Sequence[Post], predictions: list[Prediction] | None
) -> tuple[Sequence[Post], list[Prediction]]:
    """The posts of `--least-sure`, the least sure first, and their predictions."""
    from gmner.data.confidence import least_sure

    if predictions is None:
        raise InputError("--least-sure requires predictions", accepted="--predictions PRED")
    predictions = least_sure(predictions, given.least_sure)
    by_id = {post.id: post for post in posts}
    return [by_id[prediction.id] for prediction in predictions], predictions


def _write(given: Namespace, posts: Sequence[Post], exporter: Exporter, write: Callable[[Path], None]) -> None:
    """Write an export unless it would replace an input or somebody else's file."""
    check_images(given.output, posts)
    if exporter.folder:
        write_into(given.output, write, overwrite=given.overwrite)
    elif exporter.suffixes_beside and given.output != STANDARD and not is_stream(given.output):
        outputs = exporter.files(given.output)
        for output in outputs[1:]:
            check_inputs(output, [path for path in (given.gold, given.predictions) if path is not None], own=True)
            check_images(output, posts)
        write_beside(outputs, write, overwrite=given.overwrite, own=arguments_of(given))
    else:
        with written(given.output, overwrite=given.overwrite, own=arguments_of(given)) as place:
            write(place)


def _format_names() -> Iterable[str]:
    from gmner.data.export.exporters import EXPORTERS

    return EXPORTERS


COMMAND = Command(
    "export",
    "convert annotated posts, and predictions if given, to the format of another tool",
    "gmner export --to label-studio --gold posts.jsonl --predictions predictions.jsonl -o tasks.json",
    add_arguments,
    run,
    files=FileRules(
        standard_input=True,
        standard_output=True,
        may_replace=lambda given, output: is_result(_exporter(given).files(given.output)),
    ),
)
