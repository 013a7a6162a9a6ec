"""`gmner world`: posts of the synthetic world, their statistics, and a model's scores slice by slice."""

from __future__ import annotations

import json
from argparse import ArgumentParser, Namespace
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from gmner.cli import models
from gmner.cli.command import Command
from gmner.cli.files import written
from gmner.cli.options import MODEL, add_output, positive_int
from gmner.cli.printing import figure, print_failures, print_message, print_result
from gmner.cli.printing import posts as counted_posts
from gmner.signatures.errors import InputError


def add_arguments(parser: ArgumentParser) -> None:
    """Add the arguments of `gmner world`."""
    number = "number of posts (default: %(default)s)"
    parser.add_argument("--posts", type=positive_int, metavar="N", default=300, help=number)
    splits = ("train", "dev", "test")
    parser.add_argument("--split", choices=splits, default="test", help="split of the posts (default: %(default)s)")
    parser.add_argument("--seed", type=int, metavar="SEED", default=0, help="seed of the world (default: %(default)s)")
    task = "gmner: names with boxes; mner: names without boxes, as in MNER-MI; grec: referring expressions, as in GREC"
    parser.add_argument("--task", choices=("gmner", "mner", "grec"), default="gmner", help=f"{task} (default: gmner)")
    pictures = "images of a post, only for --task mner (default: 1)"
    parser.add_argument("--pictures", type=positive_int, metavar="N", help=pictures)
    model = parser.add_mutually_exclusive_group()
    model.add_argument("--model", metavar="MODEL", help=MODEL)
    model.add_argument(
        "--no-model", action="store_true", help="print only statistics of the posts, without running a model"
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables; shares are in percent")
    add_output(parser, "DIR", "folder to write the posts to, as JSONL and images", required=False)
    sheet = "PNG file to write a contact sheet of the first 24 posts to"
    parser.add_argument("--sheet", type=Path, metavar="PNG", help=sheet)


def run(given: Namespace) -> None:
    """Generate posts, write them where asked, and report their statistics and the model's scores."""
    from gmner.programs import world_report as report

    if given.pictures is not None and given.task != "mner":
        raise InputError("--pictures is for --task mner", received=given.task, remedy="Remove --pictures")
    report.check_places(given.output, given.sheet)
    place = partial(written, overwrite=given.overwrite)
    program = None if given.no_model else models.load_program(given.model)  # an unknown model stops the command here
    posts = report.draw_posts(given.split, given.posts, given.seed, task=given.task, pictures=given.pictures or 1)
    if given.output is not None:
        with place(given.output) as folder:
            report.write_folder(posts, folder)
        print_message(f"Wrote {counted_posts(len(posts))} to {given.output}")
    if given.sheet is not None:
        with place(given.sheet) as sheet:
            report.write_sheet(posts, sheet)
        first = counted_posts(len(posts[: report.SHEET_POSTS]))
        print_message(f"Wrote a contact sheet of {first} to {given.sheet}")
    if given.task != "gmner":
        related = report.related_report(posts, program)
        _print_related(related, as_json=given.json)
        print_failures(related.get("failed", {}))
        return
    result = report.world_report(posts, given.seed, given.split, program)
    print_result(json.dumps(result.to_dict(), ensure_ascii=False, indent=1) if given.json else result.summary())
    print_failures(result.evaluation.failed if result.evaluation else {})


def _print_related(result: Mapping[str, Any], *, as_json: bool) -> None:
    """Print the counts and scores of posts of a related task."""
    if as_json:
        print_result(json.dumps(result, ensure_ascii=False, indent=1))
        return
    lines = [counted_posts(result["posts"]), *(f"  {name}: {count:,}" for name, count in result["slices"].items())]
    if "scores" in result:
        scores = result["scores"]
        lines += [f"Scores of {result['model']}", *(f"  {name}: {figure(scores[name])}" for name in scores)]
    print_result("\n".join(lines))


COMMAND = Command(
    "world",
    "generate posts of the synthetic world and measure a model's bias on each slice of them",
    "gmner world --posts 100 -o world/ --sheet world.png",
    add_arguments,
    run,
)
