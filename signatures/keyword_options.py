"""Keyword options that are typed by a `TypedDict`: Python does not check their names at run time, this does."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from gmner.signatures.errors import InputError


def refuse_unknown_options(owner: str, given: Iterable[str], known: Collection[str]) -> None:
    """Check the names of keyword options.

    Args:
        owner: What is called, for the error message.
        given: The names received.
        known: The names accepted.

    Raises:
        InputError: A name that is not accepted.
    """
    unknown = sorted(set(given) - set(known))
    if unknown:
        raise InputError(f"{owner} does not accept these arguments", received=unknown, accepted=", ".join(known))
