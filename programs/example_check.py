"""The check of gold annotations before one of DSPy's optimizers starts, with the same rules as for `gmner.MCR`."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import dspy

from gmner.data.listing import counted
from gmner.data.post import Post
from gmner.programs.adapter import PromptAdapter
from gmner.programs.gold_check import FALSIFYING, GoldReport, check_posts, refusal
from gmner.programs.prompt_images import picture_sources
from gmner.signatures.mentions import GoldEntity

LOG = logging.getLogger(__name__)

_SETS = ("trainset", "valset")
_LEAVE_OUT = "Correct these posts (`gmner check` lists all faults), or skip them: leave_out_invalid=True"
_NAMED = 5


def check_examples(
    given: Mapping[str, Any], optimizer: Any, adapter: PromptAdapter, *, leave_out_invalid: bool = False
) -> dict[str, Any]:
    """Check the gold annotations in the arguments of a compile, and return the arguments.

    Every gold answer of the trainset must be one that the program can generate, because it becomes a demonstration or
    scores one; this includes the trainset that `dspy.KNNFewShot` already has. Gold answers of the valset must be ones
    that can be scored. Examples with neither a post nor `GoldEntity` values are not checked.

    Args:
        given: The arguments of `compile`, with posts or examples.
        optimizer: An optimizer of DSPy.
        adapter: The adapter of the program, whose labels, limits and model determine the possible answers.
        leave_out_invalid: Skip invalid examples and log a warning with their number.

    Raises:
        InputError: Gold annotations are invalid, or no example is left. The message names the first posts and faults.
    """
    checked = dict(given)
    for name in _SETS:
        if isinstance(values := checked.get(name), Sequence) and values:
            checked[name] = _usable(name, values, adapter, leave_out_invalid=leave_out_invalid)
    retriever = getattr(optimizer, "KNN", None)
    if isinstance(values := getattr(retriever, "trainset", None), Sequence):
        report = _report("trainset", values, adapter)
        if report.faults:
            raise refusal(f"trainset of {type(optimizer).__name__}", report, "Correct or remove these posts")
    return checked


def _usable(name: str, values: Sequence[Any], adapter: PromptAdapter, *, leave_out_invalid: bool) -> Sequence[Any]:
    report = _report(name, values, adapter)
    if not report.faults:
        return values
    if not leave_out_invalid:
        raise refusal(name, report, _LEAVE_OUT)
    LOG.warning("Skipped %s of the %s. %s", counted(report.refused, "post", "posts"), name, report.summary(_NAMED))
    refused = {fault.place for fault in report.faults}
    kept = [value for place, value in enumerate(values) if place not in refused]
    if not kept:
        raise refusal(name, report, "Correct these posts (`gmner check` lists all faults)")
    return kept


def _report(name: str, values: Sequence[Any], adapter: PromptAdapter) -> GoldReport:
    """The faults for which examples are refused, with indices into `values`."""
    places, posts = [], []
    for place, value in enumerate(values):
        if (post := _post_of(value, f"{name}[{place}]")) is not None:
            places.append(place)
            posts.append(post)
    report = check_posts(posts, adapter.labels, adapter.limits, adapter.profile, tasks=("gmner", "mner"))
    # DSPy's examples have no ids, so the same one may occur twice.
    kinds = {fault.kind for fault in report.faults} - {"duplicate_id"}
    if name == "valset":
        _warn_of_unanswerable(report.only(kinds - set(FALSIFYING)))
        kinds &= set(FALSIFYING)
    elif bare := sum(post.entities is not None and not post.grounded for post in posts):
        LOG.warning(
            "%s of the training set without annotated regions: their demonstrations have no boxes",
            counted(bare, "post", "posts"),
        )
    return report.only(kinds).moved(places, len(values))


def _warn_of_unanswerable(report: GoldReport) -> None:
    if report.faults:
        LOG.warning("The program cannot generate some gold answers of the validation set. %s", report.summary(_NAMED))


def _post_of(value: Any, name: str) -> Post | None:
    """The post of an example; None if its gold cannot be checked, or its image would have to be downloaded."""
    if isinstance(value, Post):
        return None if any("://" in str(image) for image in value.images) else value
    if not isinstance(value, dspy.Example):
        return None
    post, gold, text = (value.get(key) for key in ("post", "entities", "text"))
    images = picture_sources(value)
    entities = tuple(gold) if isinstance(gold, Sequence) else None
    if isinstance(post, Post) and (gold is None or entities == post.gold):
        return _post_of(post, name)
    if not isinstance(text, str) or not entities or not all(isinstance(entity, GoldEntity) for entity in entities):
        return None
    name = post.id if isinstance(post, Post) else name
    image, *more = [_source(image) for image in images] or [None]
    return Post(name, text, image, entities, more_images=tuple(more))


def _source(image: Any) -> Any:
    return image.url if isinstance(image, dspy.Image) else image
