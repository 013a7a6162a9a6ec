"""The check of gold for DSPy's own optimizers: what `gmner.MCR` refuses is refused before they begin, too."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import dspy

from gmner.data.listing import counted
from gmner.data.post import Post
from gmner.programs.adapter import PromptAdapter
from gmner.programs.gold_check import FALSIFYING, GoldReport, check_posts, refusal
from gmner.signatures.mentions import GoldEntity

LOG = logging.getLogger(__name__)

_SETS = ("trainset", "valset")
_LEAVE_OUT = "Mend these posts (`gmner check` lists them all), or leave them out: leave_out_invalid=True"
_NAMED = 5


def check_examples(
    given: Mapping[str, Any], optimizer: Any, adapter: PromptAdapter, *, leave_out_invalid: bool = False
) -> dict[str, Any]:
    """The arguments of a compile, once the gold of their examples is known to be usable.

    Of the trainset, also of the one that `dspy.KNNFewShot` got before, every gold answer must be one that the program
    can write: it becomes a demonstration, or scores one. Of the valset it must be one that can be scored. Examples that
    carry neither a post nor `GoldEntity` values are not checked.

    Args:
        given: The arguments of `compile`, posts or examples among them.
        optimizer: An optimizer of DSPy.
        adapter: The adapter of the program: its labels, limits and model decide what can be answered.
        leave_out_invalid: Leave out the examples that would be refused, and warn with their number.

    Raises:
        InputError: Gold that cannot be used, or nothing is left; the fact names the first posts and the reasons.
    """
    checked = dict(given)
    for name in _SETS:
        if isinstance(values := checked.get(name), Sequence) and values:
            checked[name] = _usable(name, values, adapter, leave_out_invalid=leave_out_invalid)
    retriever = getattr(optimizer, "KNN", None)
    if isinstance(values := getattr(retriever, "trainset", None), Sequence):
        report = _report("trainset", values, adapter)
        if report.faults:
            raise refusal(f"trainset of {type(optimizer).__name__}", report, "Mend these posts, or give it the others")
    return checked


def _usable(name: str, values: Sequence[Any], adapter: PromptAdapter, *, leave_out_invalid: bool) -> Sequence[Any]:
    report = _report(name, values, adapter)
    if not report.faults:
        return values
    if not leave_out_invalid:
        raise refusal(name, report, _LEAVE_OUT)
    LOG.warning("%s of the %s are left out. %s", counted(report.refused, "post", "posts"), name, report.summary(_NAMED))
    refused = {fault.place for fault in report.faults}
    kept = [value for place, value in enumerate(values) if place not in refused]
    if not kept:
        raise refusal(name, report, "Mend these posts (`gmner check` lists them all)")
    return kept


def _report(name: str, values: Sequence[Any], adapter: PromptAdapter) -> GoldReport:
    """The faults for which examples are refused, their places those among `values`."""
    places, posts = [], []
    for place, value in enumerate(values):
        if (post := _post_of(value, f"{name}[{place}]")) is not None:
            places.append(place)
            posts.append(post)
    found = check_posts(posts, adapter.labels, adapter.limits, adapter.profile, regions=False)
    # DSPy knows no ids: an example may be there twice.
    kinds = {fault.kind for fault in found.faults} - {"duplicate_id"}
    if name == "valset":
        _warn_of_unanswerable(found.only(kinds - set(FALSIFYING)))
        kinds &= set(FALSIFYING)
    elif bare := sum(post.entities is not None and not post.grounded for post in posts):
        LOG.warning(
            "The regions of %s of the trainset are not annotated: demonstrations of them have no boxes",
            counted(bare, "post", "posts"),
        )
    return found.only(kinds).moved(places, len(values))


def _warn_of_unanswerable(report: GoldReport) -> None:
    if report.faults:
        LOG.warning("The valset has gold that the program cannot answer rightly. %s", report.summary(_NAMED))


def _post_of(value: Any, name: str) -> Post | None:
    """The post of an example; None: its gold is in no form that can be checked, or its picture has to be fetched."""
    if isinstance(value, Post):
        return None if "://" in str(value.image) else value
    if not isinstance(value, dspy.Example):
        return None
    post, gold, text, image = (value.get(key) for key in ("post", "entities", "text", "image"))
    entities = tuple(gold) if isinstance(gold, Sequence) else None
    if isinstance(post, Post) and (gold is None or entities == post.gold):
        return _post_of(post, name)
    if not isinstance(text, str) or not entities or not all(isinstance(entity, GoldEntity) for entity in entities):
        return None
    name = post.id if isinstance(post, Post) else name
    if isinstance(image, dspy.Image):
        image = None if image.url is None else image.url
    return Post(name, text, image, entities)
