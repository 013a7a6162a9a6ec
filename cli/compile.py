"""`gmner compile`: MCR on annotated posts, the result saved as a bundle."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from gmner.cli import models
from gmner.cli.command import Command, FileRules
from gmner.cli.files import check_bundle_place, check_run_dir, keep_bundle_place
from gmner.cli.options import (
    MODEL,
    add_dataset,
    add_labels,
    add_limit_pictures,
    add_output,
    offer,
    positive_minutes,
    read_labels,
)
from gmner.cli.posts import add_with_pictures, read_wanted_posts, report_missing_images
from gmner.cli.printing import print_message, print_result

if TYPE_CHECKING:
    from gmner.data.oddities import Posts
    from gmner.optimizers.mcr import MCR
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
    also = "further posts to train on, for example of MNER-MI (repeatable; the format is detected)"
    parser.add_argument("--also", type=Path, action="append", default=[], metavar="POSTS", help=also)
    expressions = "referring expressions to train on as well: a file of gRefCOCO, which needs --instances"
    parser.add_argument("--expressions", type=Path, metavar="JSON", help=expressions)
    add_dataset(parser, split=False)
    add_with_pictures(parser)
    invalid = "skip posts whose gold annotations the program cannot express, and report how many"
    parser.add_argument("--leave-out-invalid", action="store_true", help=invalid)
    run_dir = "run directory for checkpoints and logs; a stopped compile resumes from it"
    parser.add_argument("--run-dir", type=Path, required=True, metavar="DIR", help=run_dir)
    add_output(parser, "BUNDLE", "folder to save the compiled program to")
    parser.add_argument("--model", metavar="MODEL", help=MODEL)
    models.add_profile(parser)
    add_labels(parser)
    add_limit_pictures(parser)
    action = parser.add_argument("--preset", metavar="PRESET", default="default", help="training settings: %(names)s")
    offer(action, _preset_names, described=_described_presets)
    config = "YAML or JSON file of settings that differ from the preset, for example `cvo: {rate: 1.0e-5}`"
    parser.add_argument("--config", type=Path, metavar="YAML", help=config)
    setting = "change a setting (repeatable), for example cvo.rate=1e-5 or mrsi.styles=[table]; overrides --config"
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help=setting)
    minutes = "stop training after N minutes; run the same command again to resume"
    parser.add_argument("--max-minutes", type=positive_minutes, metavar="N", help=minutes)
    dry_run = "print all settings; measure two steps of each stage and a few requests to servers, print the expected "
    dry_run += "steps, tokens, memory, time and cost; write nothing"
    parser.add_argument("--dry-run", action="store_true", help=dry_run)


def run(given: Namespace) -> int:
    """Compile a program and save it; `UNCHANGED` if nothing was learned."""
    from gmner.optimizers.plain_settings import settings_text
    from gmner.programs.bundle import check_place

    check_place(given.output)
    check_run_dir(given.run_dir, [p for p in (given.train, given.val, *given.also, given.expressions) if p is not None])
    check_bundle_place(given.output, given.run_dir, overwrite=given.overwrite)
    optimizer, labels = _optimizer(given), read_labels(given)
    train, val = _posts(given)
    program = models.load_program(given.model, labels=labels, profile=given.profile)
    program.limit_pictures = given.limit_pictures
    for posts in filter(None, (train, val)):
        report_missing_images(posts)
    options = {"trainset": train, "valset": val, "optimizer": optimizer, "run_dir": given.run_dir}
    if given.dry_run:
        print_result(settings_text(optimizer))
        program.compile(**options, dry_run=True)
        return 0
    compiled = program.compile(**options)
    compiled.save(given.output)
    keep_bundle_place(given.output, given.run_dir)
    return _report(compiled, given.output)


def _posts(given: Namespace) -> tuple[Posts, Posts | None]:
    """The training posts of all sources, and the validation posts."""
    from gmner.data.mixing import mix_posts

    options = vars(given)
    others = given.expressions is not None and given.format != "grec"  # the options of GREC are for these alone
    own = Namespace(**{**options, "instances": None, "most_targets": None}) if others else given
    detected = Namespace(**{**options, "format": "auto", "instances": None, "most_targets": None, "joiner": None})
    train = [read_wanted_posts(own, given.train, given.train_split)]
    train += [read_wanted_posts(detected, path, given.train_split) for path in given.also]
    if given.expressions is not None:
        grec = Namespace(**{**options, "format": "grec", "joiner": None})
        train.append(read_wanted_posts(grec, given.expressions, given.train_split))
    val = read_wanted_posts(own, given.val, given.val_split) if given.val else None
    return mix_posts(*train) if len(train) > 1 else train[0], val


def _optimizer(given: Namespace) -> MCR:
    """The preset with the settings of `--config`, then of `--set`, then of the options for single settings."""
    from gmner.optimizers.plain_settings import parse_settings, read_settings, with_settings
    from gmner.optimizers.presets import preset

    optimizer = preset(given.preset)
    if given.config is not None:
        optimizer = with_settings(optimizer, read_settings(given.config))
    if given.set:
        optimizer = with_settings(optimizer, parse_settings(given.set))
    if given.max_minutes is not None:
        optimizer.max_minutes = given.max_minutes
    optimizer.leave_out_invalid |= given.leave_out_invalid
    return optimizer


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


def _preset_names() -> Iterable[str]:
    from gmner.optimizers.presets import PRESETS

    return PRESETS


def _described_presets() -> Iterable[str]:
    from gmner.optimizers.presets import PRESETS

    return [f"{preset.name} ({preset.summary})" for preset in PRESETS.values()]


COMMAND = Command(
    "compile",
    "train a program with MCR on annotated posts and save it as a bundle",
    "gmner compile --train twitter-gmner/ --val twitter-gmner/ --run-dir runs/mcr -o mcr-bundle",
    add_arguments,
    run,
    resumes=True,
    files=FileRules(inputs=("config", "also", "expressions")),
)
