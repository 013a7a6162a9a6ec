"""The column `call` of a rollout row: which call of a staged program it is, and what the other calls said."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from gmner.signatures.errors import InputError
from gmner.signatures.wire import dump

STAGES = ("extract", "verify", "ground")


def call_column(stage: str, place: int, mentions: Sequence[Mapping[str, Any]], named: int) -> str:
    """The column `call` of a row: which call it is, and what the program's other calls said.

    Args:
        stage: `extract`, `verify` or `ground`.
        place: Which of `mentions` is verified or grounded; 0 for `extract`.
        mentions: Every mention of the post that is known: `span`, `type`, `start`, `end`, the verdict `visible`, and
            the `box` in the model's frame (four integers or None) that the last stage gives it, whatever the verdict.
        named: How many of them, from the first on, the program names.

    Raises:
        InputError: An unknown stage, or a place that is none of `mentions`.
    """
    if stage not in STAGES:
        raise InputError("A staged program has no such call", received=stage, accepted=", ".join(STAGES))
    if stage != "extract" and not 0 <= place < named:
        raise InputError("A call is about a mention that is not named", received=place, accepted=f"below {named}")
    return dump({"stage": stage, "place": place, "named": named, "mentions": list(mentions)})
