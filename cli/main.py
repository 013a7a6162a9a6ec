"""The command line `gmner`: thin over the functions of the library, which are loaded when a command runs."""

from __future__ import annotations

import argparse
import importlib
import logging
import math
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import TypeAlias

from gmner.signatures.errors import GmnerError, ServerError
from gmner.signatures.terminal import PrintableFormatter, printable

_EPILOG = """\
examples:
  gmner quickstart
  gmner world --sheet world.png
  gmner fetch posts.jsonl -o posts/
  gmner extract posts.jsonl -o answers.jsonl --images pictures/
  gmner extract twitter-gmner/ --split dev -o answers.jsonl --model Qwen/Qwen2.5-VL-7B-Instruct
  gmner evaluate --gold twitter-gmner/ --split dev answers.jsonl --protocol all
  gmner export --to coco --gold twitter-gmner/ --split dev -o dev.json
  gmner view answers.jsonl --gold twitter-gmner/ --split dev -o report.html
  gmner check twitter-gmner/ --split train
  gmner compile --train twitter-gmner/ --val twitter-gmner/ --run-dir runs/mcr -o mcr-bundle
  gmner run runs/mcr
"""
_POSTS = "JSONL with id, text and image a line, or the folder of a data set, such as Twitter-GMNER's (then --split)"
_MODEL = "a folder with a model, a hub id, or a saved bundle; without it the small model of this package"
_RESUMES = "what is done is kept, and the same command goes on from there"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command.

    Args:
        arguments: The words after `gmner`; None: those of this process.

    Returns:
        The exit code: 0; 1 where a command could answer nothing, a server or the model stopped it, or `check` found
        posts that would be refused; 2 for an error of the user's or the data's; 3 where a compile returned the program
        that it began with; 130 after Ctrl-C.
    """
    top = parser()
    if "_ARGCOMPLETE" in os.environ:  # a shell asks what could come next
        importlib.import_module("argcomplete").autocomplete(top)
    given = top.parse_args(arguments)
    with _logging():
        return _run(given)


def _run(given: argparse.Namespace) -> int:
    """Run a command; an error becomes a line and an exit code."""
    try:
        commands = importlib.import_module("gmner.cli.commands")
        with ExitStack() as stack:
            importlib.import_module("gmner.cli.files").prepare(given, stack)
            return getattr(commands, given.command)(given) or 0
    except ServerError as error:
        return _stop(str(error), 1)
    except GmnerError as error:
        return _stop(str(error), 2)
    except OSError as error:
        return _stop(str(error), 2)
    except KeyboardInterrupt:
        return _stop(f"stopped; {_RESUMES}" if given.resumes else "stopped", 130)


def parser() -> argparse.ArgumentParser:
    """The parser of the command line, with every command."""
    top = argparse.ArgumentParser(
        prog="gmner",
        description="Grounded multimodal named entity recognition: names in a post, with types and boxes.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    top.add_argument("--version", action="version", version=f"gmner {version('gmner')}")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for add in (
        _add_quickstart,
        _add_world,
        _add_fetch,
        _add_extract,
        _add_evaluate,
        _add_view,
        _add_export,
        _add_check,
        _add_compile,
        _add_run,
        _add_merge,
    ):
        add(commands)
    return top


Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"


def _command(commands: Commands, name: str, text: str, example: str, *, resumes: bool) -> argparse.ArgumentParser:
    added = commands.add_parser(
        name,
        help=text,
        description=f"{text[0].upper()}{text[1:]}.",
        epilog=f"example:\n  {example}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    added.set_defaults(resumes=resumes)
    return added


def _add_quickstart(commands: Commands) -> None:
    text = "compile the small model on its synthetic world and show what changes, in minutes"
    command = _command(commands, "quickstart", text, "gmner quickstart", resumes=True)
    command.add_argument(
        "--run-dir", type=Path, metavar="DIR", default=Path("runs/quickstart"), help="folder of the run"
    )


def _add_world(commands: Commands) -> None:
    text = "draw posts of the synthetic world and show how biased a model's answers to them are, slice by slice"
    command = _command(commands, "world", text, "gmner world --posts 100 -o world/ --sheet world.png", resumes=False)
    command.add_argument("--posts", type=_count, metavar="N", default=300, help="number of posts (300)")
    command.add_argument("--split", choices=("train", "dev", "test"), default="test", help="their split (test)")
    command.add_argument("--seed", type=int, metavar="S", default=0, help="seed of the world (0)")
    asked = command.add_mutually_exclusive_group()
    asked.add_argument("--model", metavar="M", help=_MODEL)
    asked.add_argument("--no-model", action="store_true", help="ask no model: statistics alone")
    command.add_argument("--json", action="store_true", help="print JSON, shares in percent, instead of tables")
    command.add_argument("-o", "--output", type=Path, metavar="DIR", help="folder for the posts: JSONL and pictures")
    command.add_argument("--sheet", type=Path, metavar="PNG", help="file for a contact sheet of the first 24 posts")
    _add_overwrite(command)


def _add_fetch(commands: Commands) -> None:
    text = "fetch the pictures of posts that name them by address: a folder for every other command"
    command = _command(commands, "fetch", text, "gmner fetch posts.jsonl -o posts/", resumes=True)
    command.add_argument("posts", type=Path, metavar="POSTS.jsonl", help='lines {"id", "text", "image": "https://..."}')
    command.add_argument(
        "-o", "--output", type=Path, required=True, metavar="DIR", help="folder for posts and pictures"
    )
    command.add_argument("--images", type=Path, metavar="DIR", help="folder of the pictures that are files")
    command.add_argument("--threads", type=_count, metavar="N", default=16, help="pictures under way at once (16)")
    _add_overwrite(command)


def _add_extract(commands: Commands) -> None:
    text = "answer posts: entities with types and boxes, one JSON line a post"
    command = _command(commands, "extract", text, "gmner extract posts.jsonl -o answers.jsonl", resumes=True)
    command.add_argument("posts", type=Path, metavar="POSTS", help=_POSTS)
    command.add_argument("-o", "--output", type=Path, required=True, metavar="PRED.jsonl", help="file for the answers")
    command.add_argument("--model", metavar="M", help=_MODEL)
    server = "ask a server of the OpenAI form, as vLLM's: http://localhost:8000/v1; the key is OPENAI_API_KEY"
    command.add_argument("--server", metavar="URL", help=server)
    command.add_argument("--served", metavar="NAME", help="what the server calls the model (the only one there)")
    _add_source(command)
    command.add_argument("--limit", type=_count, metavar="N", help="answer only the first N posts")
    command.add_argument("--staged", action="store_true", help="three questions a post: extract, verify, ground")
    command.add_argument("--answers", type=_count, default=1, metavar="N", help="draw N answers a post and take a vote")
    command.add_argument("--confidence", action="store_true", help="say of each entity how sure the model is, 0..1")
    command.add_argument("--threads", type=_count, metavar="N", help="posts under way at once (as the model needs)")
    _add_overwrite(command)


def _add_evaluate(commands: Commands) -> None:
    text = "score a file of answers against gold: GMNER, MNER, EEG and the bias figures"
    example = "gmner evaluate --gold twitter-gmner/ --split dev answers.jsonl --json"
    command = _command(commands, "evaluate", text, example, resumes=False)
    command.add_argument(
        "predictions", type=Path, metavar="PRED", help="JSONL of `gmner extract`, or `text|TYPE|[x1,y1,x2,y2]` lines"
    )
    command.add_argument("--gold", type=Path, required=True, metavar="POSTS", help=f"annotated posts: {_POSTS}")
    _add_source(command)
    command.add_argument("--protocol", default="paper", metavar="P", help="the way of counting (paper), or all")
    command.add_argument("--against", type=Path, metavar="PRED", help="answers of another system, for a paired test")
    command.add_argument("--json", action="store_true", help="print JSON, in percent, instead of a table")


def _add_view(commands: Commands) -> None:
    text = "write answers as an HTML page with coloured spans and boxes"
    example = "gmner view answers.jsonl --posts posts.jsonl -o report.html"
    command = _command(commands, "view", text, example, resumes=False)
    command.add_argument("predictions", type=Path, metavar="PRED.jsonl", help="answers that `gmner extract` wrote")
    posts = command.add_mutually_exclusive_group(required=True)
    posts.add_argument("--posts", type=Path, metavar="POSTS", help=_POSTS)
    posts.add_argument("--gold", type=Path, metavar="POSTS", help="the same, annotated: errors and scores are shown")
    command.add_argument("-o", "--output", type=Path, required=True, metavar="HTML", help="file for the page")
    _add_source(command)
    command.add_argument("--limit", type=_count, metavar="N", help="show only the first N posts")
    _add_overwrite(command)


def _add_export(commands: Commands) -> None:
    text = "write annotated posts, with answers where there are some, in the form of another tool"
    example = "gmner export --to label-studio --gold posts.jsonl --predictions answers.jsonl -o tasks.json"
    command = _command(commands, "export", text, example, resumes=False)
    command.add_argument("--to", required=True, choices=("coco", "label-studio", "voc"), help="the form")
    command.add_argument("--gold", type=Path, required=True, metavar="POSTS", help=f"posts: {_POSTS}")
    command.add_argument("--predictions", type=Path, metavar="PRED", help="answers: pre-annotations, or COCO results")
    command.add_argument("-o", "--output", type=Path, required=True, metavar="OUT", help="file, or the folder for VOC")
    _add_source(command)
    _add_overwrite(command)


def _add_check(commands: Commands) -> None:
    text = "check annotated posts before a compile: what it would refuse, and what is odd in the files"
    command = _command(commands, "check", text, "gmner check twitter-gmner/ --split train", resumes=False)
    command.add_argument("posts", type=Path, metavar="POSTS", help=f"annotated posts: {_POSTS}")
    _add_source(command)
    command.add_argument("--labels", metavar="A,B", help="entity types, separated by commas (PER,LOC,ORG,OTHER)")
    command.add_argument("--json", action="store_true", help="print JSON instead of text")


def _add_compile(commands: Commands) -> None:
    text = "improve a program with MCR on annotated posts and save it as a bundle"
    example = "gmner compile --train twitter-gmner/ --val twitter-gmner/ --run-dir runs/mcr -o mcr-bundle"
    command = _command(commands, "compile", text, example, resumes=True)
    command.add_argument("--train", type=Path, required=True, metavar="POSTS", help=f"annotated posts: {_POSTS}")
    command.add_argument("--val", type=Path, metavar="POSTS", help="annotated posts on which each stage is scored")
    command.add_argument("--train-split", metavar="S", default="train", help="split of a Twitter-GMNER folder (train)")
    command.add_argument("--val-split", metavar="S", default="dev", help="split of a Twitter-GMNER folder (dev)")
    _add_reading(command)
    command.add_argument("--with-pictures", action="store_true", help="leave out posts whose picture is not there")
    invalid = "leave out posts whose gold answer the program could not write, and say how many"
    command.add_argument("--leave-out-invalid", action="store_true", help=invalid)
    command.add_argument("--run-dir", type=Path, required=True, metavar="DIR", help="folder of the run")
    command.add_argument("-o", "--output", type=Path, required=True, metavar="BUNDLE", help="folder for the program")
    command.add_argument("--model", metavar="M", help=_MODEL)
    presets = "settings: default, tiny (the small model, minutes) or qwen2.5-vl-7b (the paper's)"
    command.add_argument("--preset", metavar="P", default="default", help=presets)
    capped = "begin no training step after so many minutes; the same command goes on there"
    command.add_argument("--max-minutes", type=_minutes, metavar="N", help=capped)
    planned = "print steps, tokens, memory and time, measured over a few steps, and compile nothing"
    command.add_argument("--dry-run", action="store_true", help=planned)
    _add_overwrite(command)


def _add_run(commands: Commands) -> None:
    text = "write the page of a compile: stages, curves, scores and sampled answers, while it runs and after"
    command = _command(commands, "run", text, "gmner run runs/mcr", resumes=False)
    command.add_argument("run_dir", type=Path, metavar="DIR", help="the run directory of a compile")
    command.add_argument("-o", "--output", type=Path, metavar="HTML", help="file for the page (DIR/run.html)")
    _add_overwrite(command)


def _add_merge(commands: Commands) -> None:
    text = "write a bundle's weights, adapter merged, as a checkpoint that vLLM loads"
    command = _command(commands, "merge", text, "gmner merge mcr-bundle -o mcr-merged", resumes=False)
    command.add_argument("bundle", metavar="BUNDLE", help="a saved bundle: a folder, or a repository of the hub")
    command.add_argument("-o", "--output", type=Path, required=True, metavar="DIR", help="folder for the checkpoint")
    _add_overwrite(command)


def _add_overwrite(command: argparse.ArgumentParser) -> None:
    command.add_argument("--overwrite", action="store_true", help="replace what lies at the output")


def _add_source(command: argparse.ArgumentParser) -> None:
    command.add_argument("--split", metavar="S", help="split of a data set: train, dev or test")
    _add_reading(command)


def _add_reading(command: argparse.ArgumentParser) -> None:
    formats = "twitter, fmnerg, fmnerg-coarse, mner-mi, mner-mi-plus, grec or jsonl"
    folder = "folder of the pictures, which no path may leave; again for a further one"
    command.add_argument("--images", type=Path, action="append", metavar="DIR", help=folder)
    command.add_argument("--format", default="auto", metavar="F", help=f"{formats} (auto: by what lies there)")
    command.add_argument("--instances", type=Path, metavar="JSON", help="COCO's instances.json, for grec")


def _count(word: str) -> int:
    number = int(word)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{word} is not 1 or more")
    return number


def _minutes(word: str) -> float:
    minutes = float(word)
    if not 0 < minutes < math.inf:
        raise argparse.ArgumentTypeError(f"{word} is not above 0")
    return minutes


def _stop(message: str, code: int) -> int:
    sys.stderr.write(printable(f"gmner: {message}") + "\n")
    return code


@contextmanager
def _logging() -> Iterator[None]:
    """Print log records without the control characters of posts, those about servers whatever is configured."""
    log, handler = logging.getLogger("gmner.programs"), logging.StreamHandler()
    for printing in (handler, logging.lastResort):
        if printing is not None:
            printing.setFormatter(PrintableFormatter())
    log.addHandler(handler)
    try:
        yield
    finally:
        log.removeHandler(handler)


if __name__ == "__main__":
    sys.exit(main())
