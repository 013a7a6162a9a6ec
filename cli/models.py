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
    from gmner.programs.program import GroundingProgram
    from gmner.signatures.labels import LabelSet


def add_program(parser: ArgumentParser) -> None:
    """Add the arguments that choose a program and say how it answers; `program_of` reads them."""
    parser.add_argument("--model", metavar="MODEL", help=MODEL)
    add_labels(parser)
    server = "OpenAI-compatible server, such as vLLM's http://localhost:8000/v1; its key is read from OPENAI_API_KEY"
    parser.add_argument("--server", metavar="URL", help=server)
    served = "name of the model on the server (default: its only model)"
    parser.add_argument("--served", metavar="NAME", help=served)
    add_profile(parser)
    add_thinking(parser)
    staged = "use three model calls per post: extract, verify and ground"
    parser.add_argument("--staged", action="store_true", help=staged)
    votes = "sample N answers per post and take a majority vote (default: 1, no sampling)"
    parser.add_argument("--answers", type=positive_int, default=1, metavar="N", help=votes)
    add_limit_pictures(parser)
    confidence = "add the model's confidence, from 0 to 1, to each entity"
    parser.add_argument("--confidence", action="store_true", help=confidence)


def add_profile(parser: ArgumentParser) -> None:
    """Add the argument that says how a model writes boxes."""
    profile = "JSON file that says how the model writes boxes, if its family is unknown (see the docs, Models); "
    profile += "or `probe`: find it out first, see `gmner probe`"
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
    labels, thinking = read_labels(given), thinking_options(given)
    if given.server is not None:
        program = served_program(given, labels)
    elif given.served is not None:
        raise InputError("--served requires --server", received=given.served, remedy="Add --server URL")
    else:
        if given.model is None:
            fact = "The embedded model only knows its synthetic world; for real posts, choose a model with --model"
            print_message(fact)
        program = load_program(given.model, staged=given.staged, labels=labels, profile=given.profile, **thinking)
    program.confidence, program.answers = given.confidence, given.answers
    program.limit_pictures = given.limit_pictures
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
    **thinking: Any,
) -> GroundingProgram:
    """Load a program.

    Args:
        model: A bundle, or a model (folder or Hub id); None: the embedded model.
        staged: Use `StagedGMNER` in place of `GMNER`.
        labels: Entity types; None: those of the bundle, or the default.
        profile: A JSON file that says how the model writes boxes; None: that of its folder or family.
        **thinking: See `thinking_options`; a bundle otherwise thinks as it was saved.

    Raises:
        InputError: `staged`, `labels` or `profile` with a bundle, which stores its own program, label set and profile.
        GmnerError: See `gmner.load_vlm` and `gmner.load`.
    """
    from gmner.programs.bundle import is_bundle, load
    from gmner.programs.gmner import GMNER
    from gmner.programs.models.loading import load_vlm
    from gmner.programs.staged import StagedGMNER
    from gmner.signatures.labels import COARSE

    if model is not None and is_bundle(model):
        _check_bundle_options(model, staged, labels, profile)
        return load(model, **thinking)
    return (StagedGMNER if staged else GMNER)(load_vlm(model, profile=profile, **thinking), labels=labels or COARSE)


def served_program(given: Namespace, labels: LabelSet | None) -> GroundingProgram:
    """A program on the server that `--server` names; with `--model`, a bundle's instructions and demonstrations.

    Raises:
        InputError: `--model` is not a bundle, or `--staged` or `--labels` is given with a bundle.
        GmnerError: See `gmner.programs.served.served_lm` and `gmner.load`.
    """
    from gmner.programs.bundle import is_bundle, load
    from gmner.programs.gmner import GMNER
    from gmner.programs.served import served_lm, served_model
    from gmner.programs.staged import StagedGMNER
    from gmner.signatures.labels import COARSE

    if given.model is not None and not is_bundle(given.model):
        remedy = "Remove --model; to choose a model of the server, pass its name with --served"
        raise InputError("With --server, --model must be a bundle", received=given.model, remedy=remedy)
    if given.model is not None:
        _check_bundle_options(given.model, given.staged, labels, given.profile)
    options = {"num_retries": 3, **thinking_options(given)}
    if given.model is not None:
        return load(given.model, lm=served_model(given.server, given.served, **options)[0])
    lm, profile = served_lm(given.server, given.served, profile=given.profile, **options)
    name = lm.model.partition("/")[2]
    print_message(f"Using model {name} at {given.server}; its boxes are read as {profile.box_format.describe()}")
    return (StagedGMNER if given.staged else GMNER)(lm, profile=profile, labels=labels or COARSE)


def _check_bundle_options(bundle: str, staged: bool, labels: LabelSet | None, profile: str | None) -> None:
    given = {"--staged": staged, "--labels": labels is not None, "--profile": profile is not None}
    for (option, used), own in zip(given.items(), ("program", "label set", "profile"), strict=True):
        if used:
            fact = f"{option} cannot be used with a bundle, which stores its own {own}"
            raise InputError(fact, received=bundle, remedy=f"Remove {option}")
