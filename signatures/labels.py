"""`LabelSet`: the entity types a program extracts, as data."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from gmner.signatures.errors import InputError


@dataclass(frozen=True, slots=True)
class LabelSet:
    """Entity types with their descriptions, in order.

    Args:
        types: Pairs of (name, description). Use `LabelSet.of({"PER": "person", ...})` for a mapping.

    Raises:
        InputError: No type, an empty name or a name given twice.
    """

    types: tuple[tuple[str, str], ...]

    def __post_init__(self) -> None:
        """Refuse an unusable set."""
        names = [name for name, _ in self.types]
        if not names or not all(names) or len(set(names)) != len(names):
            raise InputError("A label set needs distinct, non-empty names", received=names)

    @classmethod
    def of(cls, types: Mapping[str, str]) -> LabelSet:
        """A label set from a mapping name -> description."""
        return cls(tuple(types.items()))

    @property
    def names(self) -> tuple[str, ...]:
        """The type names, in order."""
        return tuple(name for name, _ in self.types)

    def __contains__(self, name: object) -> bool:
        """Whether `name` is one of the types."""
        return name in self.names

    def __iter__(self) -> Iterator[str]:
        """Iterate over the type names."""
        return iter(self.names)

    def describe(self) -> str:
        """One line for a prompt: `PER (person), LOC (place), ...`."""
        return ", ".join(f"{name} ({text})" if text else name for name, text in self.types)


COARSE = LabelSet.of(
    {
        "PER": "person or group of persons by name",
        "LOC": "place, city, country, landmark",
        "ORG": "company, team, band, institution, party",
        "OTHER": "named product, work, event, award, nationality or other name",
    }
)
"""The four types of Twitter-GMNER: a default, not a rule."""
