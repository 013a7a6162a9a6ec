"""The answer of a staged program when one of its calls is answered anew: what the rewards judge of a single call."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from gmner.signatures.errors import AnswerError, InputError
from gmner.signatures.labels import COARSE, LabelSet
from gmner.signatures.wire import dump, entity_record, load_mentions, load_object, load_verification

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


def call_title(call: str) -> str:
    """Which call it is, for people: `extract`, or `verify` or `ground` and the mention."""
    known = json.loads(call)
    return (
        known["stage"]
        if known["stage"] == "extract"
        else f"{known['stage']} {known['mentions'][known['place']]['span']}"
    )


@lru_cache(maxsize=8192)  # the five rewards of a batch read each completion once
def whole_answer(completion: str, call: str, post_text: str, labels: LabelSet = COARSE) -> str | None:
    """The program's answer with this completion in the place of one call, in the end-to-end form.

    - `extract`: the mentions are those of the completion, each with the verdict and the box that the other stages gave
      it; a mention that they were not asked about is not shown.
    - `verify`: the mention gets the box of the last stage, or none.
    - `ground`: the mention gets the completion's box.

    Args:
        completion: What the model wrote in answer to the call.
        call: See `call_column`.
        post_text: The text of the post.
        labels: The entity types.

    Returns:
        JSON to be judged like any answer; None: the completion is not a valid answer to its call.
    """
    known = json.loads(call)
    mentions = [dict(mention) for mention in known["mentions"]]
    answer = mentions[: known["named"]]
    try:
        if known["stage"] == "extract":
            answer = _extracted(completion, mentions, post_text, labels)
        elif known["stage"] == "verify":
            answer[known["place"]]["visible"] = load_verification(completion)["visible"]
        else:
            answer[known["place"]] |= {"visible": True, "box": load_object(completion, ("box",))["box"]}
    except AnswerError:
        return None
    entities = [entity_record(m["span"], m["type"], m["box"] if m["visible"] else None) for m in answer]
    return dump({"reasoning": "", "entities": entities})


def _extracted(
    completion: str, mentions: Sequence[dict[str, Any]], post_text: str, labels: LabelSet
) -> list[dict[str, Any]]:
    known = {(m["start"], m["end"]): m for m in reversed(mentions)}
    found = load_mentions(load_object(completion, ("mentions",))["mentions"], post_text, labels)
    unknown = {"visible": False, "box": None}
    return [{**known.get(m.key, unknown), "span": m.span, "type": m.type} for m in found]
