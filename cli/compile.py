"""`gmner compile`: MCR on annotated posts, the result saved as a bundle."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from gmner.cli import models
from gmner.cli.command import Command
from gmner.cli.files import check_bundle_place, check_run_dir, keep_bundle_place
from gmner.cli.options import MODEL, Names, add_dataset, add_labels, add_output, positive_minutes, read_labels
from gmner.cli.posts import read_posts
from gmner.cli.printing import posts as counted_posts
from gmner.cli.printing import print_message

if TYPE_CHECKING:
    from gmner.data.post import Post
    from gmner.programs.program import GroundingProgram

UNCHANGED = 3
"""The exit code of a compile that returns the program unchanged."""


def add_arguments(parser: ArgumentParser) -> None:
    """Add the arguments of `gmner compile`."""
    train = "annotated posts to train on: JSONL with id, text, image and entities on each line, or a data set folder"
    parser.add_argument("--train", type=Path, required=True, metavar="POSTS", help=train)
    val = "annotated posts to score each stage on (default: a part of --train is held out)"
    parser.add_argument("--val", type=Path, metavar="POSTS", help=val)
    split = "split of --%(of)s if it is a data set (default: %(default)s)"
    for of, default in {"train": "train", "val": "dev"}.items():
        parser.add_argument(f"--{of}-split", metavar="SPLIT", default=default, help=split.replace("%(of)s", of))
    add_dataset(parser, split=False)
    parser.add_argument("--with-pictures", action="store_true", help="skip posts whose image is missing")
    invalid = "skip posts whose gold annotations the program cannot express, and report how many"
    parser.add_argument("--leave-out-invalid", action="store_true", help=invalid)
    run_dir = "run directory for checkpoints and logs; a stopped compile resumes from it"
    parser.add_argument("--run-dir", type=Path, required=True, metavar="DIR", help=run_dir)
    add_output(parser, "BUNDLE", "folder to save the compiled program to")
    parser.add_argument("--model", metavar="MODEL", help=MODEL)
    add_labels(parser)
    action = parser.add_argument("--preset", metavar="PRESET", default="default", help="training settings: %(names)s")
    action.names = Names(_preset_names)  # type: ignore[attr-defined]
    minutes = "stop training after N minutes; run the same command again to resume"
    parser.add_argument("--max-minutes", type=positive_minutes, metavar="N", help=minutes)
    dry_run = "measure two steps of each stage, print the expected steps, tokens, memory and time, and write nothing"
    parser.add_argument("--dry-run", action="store_true", help=dry_run)


def run(given: Namespace) -> int:
    """Compile a program and save it; `UNCHANGED` if nothing was learned."""
    from gmner.optimizers.presets import preset
    from gmner.programs.bundle import check_place

    check_place(given.output)
    check_run_dir(given.run_dir, [given.train, *([] if given.val is None else [given.val])])
    check_bundle_place(given.output, given.run_dir, overwrite=given.overwrite)
    optimizer, labels = preset(given.preset), read_labels(given)
    train = _training_posts(given, given.train, given.train_split)
    val = _training_posts(given, given.val, given.val_split) if given.val else None
    program = models.load_program(given.model, labels=labels)
    if given.max_minutes is not None:
        optimizer.max_minutes = given.max_minutes
    optimizer.leave_out_invalid = given.leave_out_invalid
    options = {"trainset": train, "valset": val, "optimizer": optimizer, "run_dir": given.run_dir}
    if given.dry_run:
        program.compile(**options, dry_run=True)
        return 0
    compiled = program.compile(**options)
    compiled.save(given.output)
    keep_bundle_place(given.output, given.run_dir)
    return _report(compiled, given.output)


def _report(compiled: GroundingProgram, output: Path) -> int:
    """Print the result of a compile; returns the exit code."""
    for warning in compiled.history.fallen.values():
        print_message(f"Warning: {warning}")
    if compiled.history.unchanged:
        print_message(f"The compile changed nothing: {output} contains the program that it started from")
        print_message(f"Reason: {compiled.history.unchanged}")
        return UNCHANGED
    usage = f"gmner extract POSTS --model {output} -o PRED.jsonl"
    print_message(f"Saved the compiled program to {output}. Use it with: {usage}")
    return 0


def _training_posts(given: Namespace, path: Path, split: str) -> list[Post]:
    """Annotated posts; with `--with-pictures`, only those whose image exists."""
    posts = read_posts(given, path, split)
    kept = [post for post in posts if not given.with_pictures or _has_image(post)]
    if len(kept) < len(posts):
        print_message(f"Skipped {len(posts) - len(kept)} of {counted_posts(len(posts))} of {path}: no image")
    return kept


def _has_image(post: Post) -> bool:
    return post.image is not None and (not isinstance(post.image, Path) or post.image.is_file())


def _preset_names() -> Iterable[str]:
    from gmner.optimizers.presets import PRESETS

    return [f"{preset.name} ({preset.summary})" for preset in PRESETS.values()]


COMMAND = Command(
    "compile",
    "train a program with MCR on annotated posts and save it as a bundle",
    "gmner compile --train twitter-gmner/ --val twitter-gmner/ --run-dir runs/mcr -o mcr-bundle",
    add_arguments,
    run,
    resumes=True,
)
