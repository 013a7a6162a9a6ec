"""What a reasoning set was made for, and how many chains of each kind it has."""

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
        box_format: The frame in which its chains write boxes.
        labels: Names of the entity types.
        seed: Seed of split, styles and wording.
        styles: Names of the styles.
        per_post: Chains a post, each in another style.
        teacher: The model string of the LM that wrote chains; None: templates alone.
        resize: The processor's resize, on which boxes of the frame `resized` depend; None: not known.
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
    """How many chains there are of each kind.

    Attributes:
        chains: All of them.
        posts: Posts of D1 and of D2.
        styles: Chains by style.
        authors: Chains by author.
        problems: Chains that stand in for another, by the kind of what was wrong with that.
        strata: Chains by how the picture relates to what the post names, see `stratum`; None: no posts were given.
    """

    chains: int
    posts: tuple[int, int]
    styles: Mapping[str, int]
    authors: Mapping[str, int]
    problems: Mapping[str, int]
    strata: Mapping[str, int] | None = None

    @property
    def fallbacks(self) -> int:
        """Chains that stand in for another."""
        return sum(self.problems.values())

    def to_record(self) -> dict[str, Any]:
        """The counts as JSON data."""
        return {**dataclasses.asdict(self), "posts": list(self.posts), "fallbacks": self.fallbacks}
