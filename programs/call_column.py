"""The column `call` of a rollout row: identifies a call of a staged program, with the results of its other calls."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from gmner.signatures.errors import InputError
from gmner.signatures.wire import dump

STAGES = ("extract", "verify", "ground")


def call_column(
    stage: str, place: int, mentions: Sequence[Mapping[str, Any]], named: int, *, several: bool = False
) -> str:
    """Write the column `call` of a row as JSON.

    Args:
        stage: `extract`, `verify` or `ground`.
        place: Index in `mentions` of the mention that is verified or grounded; 0 for `extract`.
        mentions: Every known mention of the post: `span`, `type`, `start`, `end`, the verdict `visible`, and the `box`
            that the last stage predicts whatever the verdict (four integers in the model's coordinate convention, or
            None). For a post with several images, also `picture`, the number of the image of this box.
        named: Number of mentions that the program extracts; they come first in `mentions`.
        several: Whether the post has several images.

    Raises:
        InputError: Unknown stage, or `place` is not the index of an extracted mention.
    """
    if stage not in STAGES:
        raise InputError("Unknown stage of a staged program", received=stage, accepted=", ".join(STAGES))
    if stage != "extract" and not 0 <= place < named:
        fact = "place must be the index of an extracted mention"
        raise InputError(fact, received=place, accepted=f"0 to {named - 1}" if named else "none: there is no mention")
    images = {"several": True} if several else {}
    return dump({"stage": stage, "place": place, "named": named, **images, "mentions": list(mentions)})
