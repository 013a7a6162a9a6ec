"""The origin of a reasoning set (what it was made for, and how), and the counts of its chains."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gmner.programs.models.families import ResizeRule
from gmner.signatures.boxes import BoxFormat


@dataclass(frozen=True, slots=True)
class Origin:
    """What a reasoning set was made for, and how.

    Attributes:
        box_format: The coordinate convention of the boxes in its chains.
        labels: Names of the entity types.
        seed: Seed of split, styles and wording.
        styles: Names of the styles.
        per_post: Chains per post, each in a different style.
        teacher: The model string of the LM that wrote chains. None: only templates wrote them.
        resize: The processor's resize, on which boxes of the convention `resized` depend. None: unknown.
    """

    box_format: BoxFormat
    labels: tuple[str, ...]
    seed: int
    styles: tuple[str, ...]
    per_post: int
    teacher: str | None = None
    resize: ResizeRule | None = None


@dataclass(frozen=True, slots=True)
class ChainCounts:
    """The number of chains by kind.

    Attributes:
        chains: All chains.
        posts: Posts in D1 and in D2.
        styles: Chains by style.
        authors: Chains by author.
        problems: Replaced chains, by the kind of their problem.
        strata: Chains by `stratum` of their post. None: no posts were given.
        tasks: Chains by the task of their post, see `gmner.Post.task`. None: no posts were given.
    """

    chains: int
    posts: tuple[int, int]
    styles: Mapping[str, int]
    authors: Mapping[str, int]
    problems: Mapping[str, int]
    strata: Mapping[str, int] | None = None
    tasks: Mapping[str, int] | None = None

    @property
    def fallbacks(self) -> int:
        """Number of replaced chains."""
        return sum(self.problems.values())

    def to_record(self) -> dict[str, Any]:
        """The counts as JSON data."""
        return {**dataclasses.asdict(self), "posts": list(self.posts), "fallbacks": self.fallbacks}
