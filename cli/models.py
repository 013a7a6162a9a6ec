"""The program that a command runs: a model or a bundle on this machine, or a model on a server."""

from __future__ import annotations

from argparse import ArgumentParser, BooleanOptionalAction, Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from gmner.cli.options import MODEL, add_labels, add_limit_pictures, positive_int, read_labels
from gmner.cli.printing import print_message
from gmner.signatures.errors import GmnerError, InputError, ServerError

if TYPE_CHECKING:
    from gmner.programs.choice import ProgramChoice
    from gmner.programs.program import GroundingProgram
    from gmner.signatures.labels import LabelSet


def add_program(parser: ArgumentParser, *, votes: str = "--answers") -> None:
    """Add the arguments that choose a program and say how it answers; `program_of` reads them.

    Args:
        parser: The parser of a command.
        votes: The option that sets the number of answers to sample.
    """
    parser.add_argument("--model", metavar="MODEL", help=MODEL)
    add_labels(parser)
    server = "OpenAI-compatible server, such as vLLM's http://localhost:8000/v1; its key is read from OPENAI_API_KEY"
    parser.add_argument("--server", metavar="URL", help=server)
    served = "name of the model on the server (default: its only model)"
    parser.add_argument("--served", metavar="NAME", help=served)
    engine = "what runs a model on this machine: transformers, or vllm for many posts on a GPU (default: transformers)"
    parser.add_argument("--engine", choices=("transformers", "vllm"), help=engine)
    add_profile(parser)
    add_thinking(parser)
    staged = "use three model calls per post: extract, verify and ground"
    parser.add_argument("--staged", action="store_true", help=staged)
    sampled = "sample N answers per post and take a majority vote (default: 1, no sampling)"
    parser.add_argument(votes, dest="answers", type=positive_int, default=1, metavar="N", help=sampled)
    add_limit_pictures(parser)
    confidence = "add the model's confidence, from 0 to 1, to each entity"
    parser.add_argument("--confidence", action="store_true", help=confidence)


def add_task(parser: ArgumentParser) -> None:
    """Add `--task`."""
    task = "gmner: entities with boxes; mner: names and types alone; grec: the boxes of referring expressions"
    parser.add_argument(
        "--task",
        choices=("gmner", "mner", "grec"),
        help=f"{task} (default: grec for referring expressions, otherwise that of the bundle, or gmner)",
    )


def _task_of(given: Namespace) -> str | None:
    """The task of `--task`, or the one that the data has; None: that of the program."""
    task: str | None = getattr(given, "task", None)
    return task or ("grec" if getattr(given, "format", None) == "grec" else None)


def add_profile(parser: ArgumentParser) -> None:
    """Add the argument that says how a model writes boxes."""
    profile = "JSON file that says how a model of an unknown family writes boxes (see the docs, Models), "
    profile += "or `probe`, which finds it out first (see `gmner probe`)"
    parser.add_argument("--profile", metavar="FILE", help=profile)


def add_thinking(parser: ArgumentParser) -> None:
    """Add the arguments that switch the thinking of a model; `thinking_options` reads them."""
    thinking = "let a thinking model think before its answer, or not (default: not; on a server: as it is set up)"
    parser.add_argument("--thinking", action=BooleanOptionalAction, help=thinking)
    tokens = "tokens after which the thinking of a model on this machine is closed (default: 2048)"
    parser.add_argument("--thinking-tokens", type=positive_int, metavar="N", help=tokens)


def thinking_options(given: Namespace) -> dict[str, Any]:
    """The arguments of `add_thinking` for `load_vlm`, `gmner.load` and `served_lm`; those not given are left out.

    Raises:
        InputError: `--thinking-tokens` without `--thinking`, or with `--server`.
    """
    tokens = given.thinking_tokens
    if tokens is not None and given.server is not None:
        remedy = "Remove it; the limit of a server is part of its own settings"
        raise InputError("--thinking-tokens cannot be used with --server", received=tokens, remedy=remedy)
    if tokens is not None and not given.thinking:
        raise InputError("--thinking-tokens requires --thinking", received=tokens, remedy="Add --thinking")
    options = {"thinking": given.thinking, "thinking_tokens": tokens}
    return {name: value for name, value in options.items() if value is not None}


def program_of(given: Namespace) -> GroundingProgram:
    """The program that the arguments of `add_program` choose.

    Raises:
        InputError: Arguments that exclude each other, or an invalid label set.
        GmnerError: See `gmner.load_vlm`, `gmner.load` and `gmner.programs.served.served_lm`.
    """
    from gmner.programs.choice import check_choice

    labels, thinking = read_labels(given), thinking_options(given)
    check_choice(choice_of(given, labels), option=option_of)
    if given.server is not None:
        program = served_program(given, labels)
    else:
        if given.model is None:
            fact = "The embedded model only knows its synthetic world; for real posts, choose a model with --model"
            print_message(fact)
        program = load_program(
            given.model,
            staged=given.staged,
            labels=labels,
            profile=given.profile,
            task=_task_of(given),
            engine=given.engine,
            **thinking,
        )
    program.confidence, program.answers = given.confidence, given.answers
    program.limit_pictures = given.limit_pictures
    program.check_answering()
    return program


@contextmanager
def failures(remedy: str) -> Iterator[None]:
    """Turn the failure of a model, not of a single post, into a `ServerError`.

    Args:
        remedy: What the user can do.
    """
    try:
        yield
    except (GmnerError, OSError):
        raise
    except Exception as error:
        from gmner.programs.error_causes import error_line

        fact = "The run stopped because the model also failed on a short test text without an image"
        raise ServerError(fact, received=error_line(error), remedy=remedy) from error


def load_program(
    model: str | None,
    *,
    staged: bool = False,
    labels: LabelSet | None = None,
    profile: str | None = None,
    task: str | None = None,
    **options: Any,
) -> GroundingProgram:
    """Load a program of this machine, see `gmner.programs.choice.choose`."""
    from gmner.programs.choice import ProgramChoice, choose

    choice = ProgramChoice(model, profile=profile, labels=labels, staged=staged, task=task, **options)
    return choose(choice, option=option_of)


def served_program(given: Namespace, labels: LabelSet | None) -> GroundingProgram:
    """A program on the server that `--server` names; with `--model`, a bundle's instructions and demonstrations.

    Raises:
        InputError: `--model` is not a bundle, or `--staged` or `--labels` is given with a bundle.
        GmnerError: See `gmner.programs.served.served_lm` and `gmner.load`.
    """
    from gmner.programs.choice import choose

    program = choose(choice_of(given, labels), option=option_of)
    if given.model is None:
        name, profile = program.model.model.partition("/")[2], program.adapter().profile
        print_message(f"Using model {name} at {given.server}; its boxes are read as {profile.box_format.describe()}")
    return program


def choice_of(given: Namespace, labels: LabelSet | None) -> ProgramChoice:
    """The arguments of `add_program` as a value; `labels` is that of `read_labels`."""
    from gmner.programs.choice import ProgramChoice

    return ProgramChoice(
        model=given.model,
        server=given.server,
        served=given.served,
        profile=given.profile,
        labels=labels,
        staged=given.staged,
        confidence=given.confidence,
        answers=given.answers,
        limit_pictures=given.limit_pictures,
        task=_task_of(given),
        engine=given.engine,
        **thinking_options(given),
    )


def option_of(attribute: str) -> str:
    """The option that sets an attribute of a choice."""
    return f"--{attribute}"


def option_with_votes(attribute: str) -> str:
    """`option_of` for a command whose option for several answers is `--votes`, see `add_program`."""
    return "--votes" if attribute == "answers" else option_of(attribute)
