"""`AppSettings`: what the page starts with."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from gmner.app.corrections import CorrectionsFile
from gmner.app.review import Review
from gmner.data.post import Post
from gmner.programs.choice import ProgramChoice
from gmner.signatures.errors import InputError


@dataclass(frozen=True, slots=True)
class AppSettings:
    """What the page starts with.

    Attributes:
        choice: The program.
        second: A program beside it; None: there is none at first.
        corrections: Where corrections are saved; None: nowhere.
        review: A corpus to correct; None: there is none.
        samples: Examples, whose images are files.
        fixed: Whether visitors cannot choose other programs; on a public page they must not load models.
    """

    choice: ProgramChoice
    second: ProgramChoice | None = None
    corrections: CorrectionsFile | None = None
    review: Review | None = None
    samples: Sequence[Post] = ()
    fixed: bool = False


def choice_of_fields(fields: Mapping[str, object], start: ProgramChoice) -> ProgramChoice:
    """The program that the fields of the page name.

    Args:
        fields: `model`, `server` and `served` as texts, `staged` and `confidence` as truth values, `votes` as a number.
            Missing fields keep the value of `start`.
        start: The program with which the page started.

    Raises:
        InputError: `votes` is not an integer of at least 1.
    """
    votes = fields.get("votes", start.answers)
    if not isinstance(votes, int | float) or not math.isfinite(votes) or votes != int(votes) or votes < 1:
        raise InputError("Votes must be an integer of at least 1", received=votes)
    model, server, served = (
        _text(fields[name]) if name in fields else getattr(start, name) for name in ("model", "server", "served")
    )
    return replace(
        start,
        model=model,
        server=server,
        served=served,
        profile=start.profile if (model, server, served) == (start.model, start.server, start.served) else None,
        staged=bool(fields.get("staged", start.staged)),
        confidence=bool(fields.get("confidence", start.confidence)),
        answers=int(votes),
    )


def names_of(choices: Sequence[ProgramChoice]) -> list[str]:
    """A name for each program. If names are equal, staged programs say so; if that is not enough, all are numbered."""
    names = [choice.name for choice in choices]
    if len(set(names)) < len(names):
        names = [f"{name}, staged" if choice.staged else name for name, choice in zip(names, choices, strict=True)]
    if len(set(names)) < len(names):
        names = [f"{number}. {name}" for number, name in enumerate(names, 1)]
    return names


def default_corrections(posts: Path | None) -> Path:
    """Where corrections are saved by default: beside a file of posts, or in the working folder."""
    if posts is not None and posts.is_file():
        return posts.with_name(f"{posts.stem}.corrections.jsonl")
    return Path("corrections.jsonl")


def _text(value: object) -> str | None:
    text = "" if value is None else str(value).strip()
    return text or None
