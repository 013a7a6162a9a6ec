"""The program that a command runs: a model or a bundle on this machine, or a model on a server."""

from __future__ import annotations

from argparse import Namespace
from typing import TYPE_CHECKING

from gmner.cli.printing import print_message
from gmner.signatures.errors import InputError

if TYPE_CHECKING:
    from gmner.programs.program import GroundingProgram


def load_program(model: str | None, *, staged: bool = False) -> GroundingProgram:
    """Load a program.

    Args:
        model: A bundle, or a model (folder or Hub id); None: the embedded model.
        staged: Use `StagedGMNER` in place of `GMNER`.

    Raises:
        InputError: `staged` with a bundle, which stores its own program.
        GmnerError: See `gmner.load_vlm` and `gmner.load`.
    """
    from gmner.programs.bundle import is_bundle, load
    from gmner.programs.gmner import GMNER
    from gmner.programs.models.loading import load_vlm
    from gmner.programs.staged import StagedGMNER

    if model is not None and is_bundle(model):
        _refuse_staged(model, staged)
        return load(model)
    return (StagedGMNER if staged else GMNER)(load_vlm(model))


def served_program(given: Namespace) -> GroundingProgram:
    """A program on the server that `--server` names; with `--model`, a bundle's instructions and demonstrations.

    Raises:
        InputError: `--model` is not a bundle, or `--staged` is given with a bundle.
        GmnerError: See `gmner.programs.served.served_lm` and `gmner.load`.
    """
    from gmner.programs.bundle import is_bundle, load
    from gmner.programs.gmner import GMNER
    from gmner.programs.served import served_lm
    from gmner.programs.staged import StagedGMNER

    if given.model is not None and not is_bundle(given.model):
        remedy = "Remove --model; to choose a model of the server, pass its name with --served"
        raise InputError("With --server, --model must be a bundle", received=given.model, remedy=remedy)
    lm, profile = served_lm(given.server, given.served, num_retries=3)
    if given.model is None:
        name = lm.model.partition("/")[2]
        print_message(f"Using model {name} at {given.server}; its boxes are read as {profile.box_format.describe()}")
        return (StagedGMNER if given.staged else GMNER)(lm, profile=profile)
    _refuse_staged(given.model, given.staged)
    return load(given.model, lm=lm)


def _refuse_staged(bundle: str, staged: bool) -> None:
    if staged:
        fact = "--staged cannot be used with a bundle, which stores its own program"
        raise InputError(fact, received=bundle, remedy="Remove --staged")
