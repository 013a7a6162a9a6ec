"""`gmner probe`: in which coordinate convention a model writes boxes, and whether its profile agrees."""

from __future__ import annotations

import json
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from gmner.cli.command import Command
from gmner.cli.models import add_thinking, failures, thinking_options
from gmner.cli.options import add_dataset, add_output, positive_int
from gmner.cli.posts import read_posts
from gmner.cli.printing import print_message, print_result
from gmner.data.files.outputs import OVERWRITE, exists
from gmner.signatures.errors import InputError

if TYPE_CHECKING:
    import dspy

    from gmner.programs.models.families import ModelProfile
    from gmner.programs.models.probe.report import ProbeReport

_STATUS = {"agrees": 0, "called": 0, "contradicted": 1, "unknown": 3}


def add_arguments(parser: ArgumentParser) -> None:
    """Add the arguments of `gmner probe`."""
    model = "model folder or Hub id (default: the embedded model)"
    parser.add_argument("model", nargs="?", metavar="MODEL", help=model)
    parser.add_argument("--server", metavar="URL", help="OpenAI-compatible server; its key is read from OPENAI_API_KEY")
    parser.add_argument("--served", metavar="NAME", help="name of the model on the server (default: its only model)")
    profile = "JSON file with the profile in force (default: that of the model's folder or family)"
    parser.add_argument("--profile", metavar="FILE", help=profile)
    add_thinking(parser)
    posts = "annotated posts to ask about, in place of drawn shapes"
    parser.add_argument("--posts", type=Path, metavar="POSTS", help=posts)
    add_dataset(parser)
    tokens = "token limit of an answer in free text (default: 768; a thinking model needs more)"
    parser.add_argument("--max-tokens", type=positive_int, metavar="N", help=tokens)
    threads = "number of calls at a time (default: twice the batch of a local model, 16 on a server)"
    parser.add_argument("--threads", type=positive_int, metavar="N", help=threads)
    parser.add_argument("--seed", type=int, default=0, metavar="SEED", help="seed of the drawn images (default: 0)")
    write = "store the profile: as gmner.json in the model's folder, or, for a model on a server or the Hub, as"
    parser.add_argument("--write", action="store_true", help=f"{write} NAME.gmner.json in this folder")
    add_output(parser, "FILE", "store the profile in this file instead", required=False)
    parser.add_argument("--json", action="store_true", help="print JSON instead of text")


def run(given: Namespace) -> int:
    """Print the report. 1: the profile in force is contradicted. 3: it cannot be told."""
    from gmner.programs.models.probe.probing import FREE_TOKENS, NO_PROFILE, probe

    if given.served is not None and given.server is None:
        raise InputError("--served requires --server", received=given.served, remedy="Add --server URL")
    if given.server is not None and given.model is not None:
        remedy = "To choose a model of the server, pass its name with --served"
        raise InputError("MODEL cannot be used with --server", received=given.model, remedy=remedy)
    posts = None if given.posts is None else read_posts(given, given.posts, given.split)
    lm, profile = _model(given)
    place = _place(given, lm)
    if place is not None and exists(place) and not given.overwrite:
        raise InputError("The file of the profile already exists", received=str(place), remedy=OVERWRITE)
    with failures("Check the model or the server, and run the command again"):
        report = probe(
            lm,
            profile=profile or NO_PROFILE,
            posts=posts,
            seed=given.seed,
            max_tokens=given.max_tokens or FREE_TOKENS,
            threads=given.threads,
        )
    print_result(json.dumps(report.to_dict(), ensure_ascii=False, indent=1) if given.json else report.summary())
    if place is not None:
        _write(report, place)
    return _STATUS[report.state]


def _model(given: Namespace) -> tuple[dspy.LM, ModelProfile | None]:
    """The model, and the profile in force: that of `--profile`, of its folder or of its family; None: there is none."""
    from gmner.programs.models.loading import load_for_probe
    from gmner.programs.served import served_for_probe

    thinking = thinking_options(given)
    if given.server is None:
        return load_for_probe(given.model, profile=given.profile, **thinking)
    return served_for_probe(given.server, given.served, profile=given.profile, num_retries=3, **thinking)


def _place(given: Namespace, lm: dspy.LM) -> Path | None:
    """Where the profile is stored; None: nowhere.

    Raises:
        InputError: `--write` without a model.
    """
    from gmner.programs.models.families import PROFILE_FILE

    if given.output is not None or not given.write:
        return given.output
    if given.server is not None:
        return Path(f"{_file_name(lm.model.partition('/')[2])}.{PROFILE_FILE}")
    if given.model is None:
        fact = "--write cannot store a profile for the embedded model, which has one"
        raise InputError(fact, remedy="Name a model, or remove --write")
    folder = Path(given.model)
    return folder / PROFILE_FILE if folder.is_dir() else Path(f"{_file_name(given.model)}.{PROFILE_FILE}")


def _file_name(model: str) -> str:
    return "".join(sign if sign.isalnum() or sign in "._-" else "--" for sign in model).lstrip(".")


def _write(report: ProbeReport, place: Path) -> None:
    """Store the profile that was found; nothing if it cannot be told."""
    from gmner.data.files.atomic import whole_text

    if report.state == "unknown":
        print_message(f"{place} was not written: the coordinate convention cannot be told")
        return
    text = json.dumps(report.found_profile().as_data(), indent=2) + "\n"
    with whole_text(place) as file:
        file.write(text)
    print_message(f"The profile is in {place}")


COMMAND = Command(
    "probe",
    "find out in which coordinate convention a model writes boxes",
    "gmner probe Qwen/Qwen2.5-VL-7B-Instruct",
    add_arguments,
    run,
)
