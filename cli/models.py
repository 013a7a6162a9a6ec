"""The program that a command runs: a model or a bundle on this machine, or a model on a server."""

from __future__ import annotations

from argparse import Namespace
from typing import TYPE_CHECKING

from gmner.cli.printing import print_message
from gmner.signatures.errors import InputError

if TYPE_CHECKING:
    from gmner.programs.program import GroundingProgram
    from gmner.signatures.labels import LabelSet


def load_program(model: str | None, *, staged: bool = False, labels: LabelSet | None = None) -> GroundingProgram:
    """Load a program.

    Args:
        model: A bundle, or a model (folder or Hub id); None: the embedded model.
        staged: Use `StagedGMNER` in place of `GMNER`.
        labels: Entity types; None: those of the bundle, or the default.

    Raises:
        InputError: `staged` or `labels` with a bundle, which stores its own program and label set.
        GmnerError: See `gmner.load_vlm` and `gmner.load`.
    """
    from gmner.programs.bundle import is_bundle, load
    from gmner.programs.gmner import GMNER
    from gmner.programs.models.loading import load_vlm
    from gmner.programs.staged import StagedGMNER
    from gmner.signatures.labels import COARSE

    if model is not None and is_bundle(model):
        _check_bundle_options(model, staged, labels)
        return load(model)
    return (StagedGMNER if staged else GMNER)(load_vlm(model), labels=labels or COARSE)


def served_program(given: Namespace, labels: LabelSet | None) -> GroundingProgram:
    """A program on the server that `--server` names; with `--model`, a bundle's instructions and demonstrations.

    Raises:
        InputError: `--model` is not a bundle, or `--staged` or `--labels` is given with a bundle.
        GmnerError: See `gmner.programs.served.served_lm` and `gmner.load`.
    """
    from gmner.programs.bundle import is_bundle, load
    from gmner.programs.gmner import GMNER
    from gmner.programs.served import served_lm
    from gmner.programs.staged import StagedGMNER
    from gmner.signatures.labels import COARSE

    if given.model is not None and not is_bundle(given.model):
        remedy = "Remove --model; to choose a model of the server, pass its name with --served"
        raise InputError("With --server, --model must be a bundle", received=given.model, remedy=remedy)
    if given.model is not None:
        _check_bundle_options(given.model, given.staged, labels)
    lm, profile = served_lm(given.server, given.served, num_retries=3)
    if given.model is None:
        name = lm.model.partition("/")[2]
        print_message(f"Using model {name} at {given.server}; its boxes are read as {profile.box_format.describe()}")
        return (StagedGMNER if given.staged else GMNER)(lm, profile=profile, labels=labels or COARSE)
    return load(given.model, lm=lm)


def _check_bundle_options(bundle: str, staged: bool, labels: LabelSet | None) -> None:
    for option, used, own in (("--staged", staged, "program"), ("--labels", labels is not None, "label set")):
        if used:
            fact = f"{option} cannot be used with a bundle, which stores its own {own}"
            raise InputError(fact, received=bundle, remedy=f"Remove {option}")
