"""The whole answer of a staged program with a new completion for one of its calls; it is what the rewards score."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from gmner.signatures.errors import AnswerError
from gmner.signatures.labels import COARSE, LabelSet
from gmner.signatures.wire import dump, entity_record, load_grounding, load_mentions, load_object, load_verification


def call_title(call: str) -> str:
    """A readable name of a call: `extract`, or `verify` or `ground` followed by the mention."""
    record = json.loads(call)
    stage: str = record["stage"]
    return stage if stage == "extract" else f"{stage} {record['mentions'][record['place']]['span']}"


@lru_cache(maxsize=8192)  # the five rewards of a batch read each completion once
def whole_answer(completion: str, call: str, post_text: str, labels: LabelSet = COARSE) -> str | None:
    """The answer of the program if one of its calls returned this completion, in the format of a whole answer.

    - `extract`: the mentions are those of the completion, with the verdicts and boxes of the other stages; mentions for
      which there are none count as not shown.
    - `verify`: the mention has the box of the last stage if the completion says that it is shown, else none.
    - `ground`: the mention has the box of the completion.

    Args:
        completion: The completion of the call.
        call: See `gmner.programs.call_column.call_column`.
        post_text: The text of the post.
        labels: The entity types.

    Returns:
        JSON to be judged like any answer; None if the completion is not a valid answer to its call.
    """
    record = json.loads(call)
    mentions, several = [dict(mention) for mention in record["mentions"]], record.get("several", False)
    answer = mentions[: record["named"]]
    try:
        if record["stage"] == "extract":
            unknown = {"visible": False, **_region({}, several=several)}
            answer = _extracted(completion, mentions, unknown, post_text, labels)
        elif record["stage"] == "verify":
            answer[record["place"]]["visible"] = load_verification(completion)["visible"]
        else:
            answer[record["place"]] |= {"visible": True, **load_grounding(completion, several=several)}
    except AnswerError:
        return None
    entities = [entity_record(m["span"], m["type"], _region(m, several=several)) for m in answer]
    return dump({"reasoning": "", "entities": entities})


def _region(mention: Mapping[str, Any], *, several: bool) -> dict[str, Any]:
    """The region of a mention in a whole answer: nowhere if it is not shown."""
    shown = mention.get("visible", False)
    return {name: mention[name] if shown else None for name in (("picture", "box") if several else ("box",))}


def _extracted(
    completion: str, mentions: Sequence[dict[str, Any]], unknown: Mapping[str, Any], post_text: str, labels: LabelSet
) -> list[dict[str, Any]]:
    known = {(m["start"], m["end"]): m for m in reversed(mentions)}
    extracted = load_mentions(load_object(completion, ("mentions",))["mentions"], post_text, labels)
    return [{**known.get(m.key, unknown), "span": m.span, "type": m.type} for m in extracted]
