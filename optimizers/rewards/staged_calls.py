"""The answer of a staged program when one of its calls is answered anew: what the rewards judge of a single call."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from gmner.signatures.errors import AnswerError
from gmner.signatures.labels import COARSE, LabelSet
from gmner.signatures.wire import dump, entity_record, load_mentions, load_object, load_verification


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
        call: See `gmner.programs.call_column.call_column`.
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
