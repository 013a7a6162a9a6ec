"""`LabelSet`: the entity types a program extracts, as data."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache

from gmner.signatures.errors import InputError

_ACCEPTED = 'a LabelSet, a list of names ["PER", "LOC"], or a mapping {name: description}'


@dataclass(frozen=True, slots=True)
class LabelSet:
    """Entity types with their descriptions, in order.

    Args:
        types: Pairs of (name, description), a mapping name -> description, or a list or tuple of names without
            descriptions. Stored as pairs.

    Raises:
        InputError: The types have another form (for example a string), there are none, a name is blank or occurs
            twice, or a name or description contains a lone surrogate.
    """

    types: tuple[tuple[str, str], ...]

    def __post_init__(self) -> None:
        """Convert the types to pairs, and check their names."""
        object.__setattr__(self, "types", _pairs(self.types))
        names = [name for name, _ in self.types]
        if not names or not all(name.strip() for name in names) or len(set(names)) != len(names):
            raise InputError("A label set needs distinct, non-empty names", received=names, accepted=_ACCEPTED)
        if not all(_is_unicode(part) for pair in self.types for part in pair):
            raise InputError("A label set contains a lone surrogate", received=self.types,
                             accepted="names and descriptions that can be encoded as UTF-8")  # fmt: skip

    @classmethod
    def of(cls, types: Mapping[str, str]) -> LabelSet:
        """Create a label set from a mapping name -> description."""
        return cls(tuple(types.items()))

    @property
    def names(self) -> tuple[str, ...]:
        """The type names, in order."""
        return _names(self.types)

    def __contains__(self, name: object) -> bool:
        """Whether `name` is one of the types."""
        return name in self.names

    def __iter__(self) -> Iterator[str]:
        """Iterate over the type names."""
        return iter(self.names)

    def describe(self) -> str:
        """Describe the types in one line for a prompt: `PER (person), LOC (place), ...`."""
        return ", ".join(f"{name} ({text})" if text else name for name, text in self.types)


def as_labels(labels: object) -> LabelSet:
    """Convert a `LabelSet`, a list or tuple of names, or a mapping name -> description to a label set.

    Raises:
        InputError: See `LabelSet`.
    """
    return labels if isinstance(labels, LabelSet) else LabelSet(labels)  # type: ignore[arg-type]


def _is_unicode(text: str) -> bool:
    return not any("\ud800" <= character <= "\udfff" for character in text)


@lru_cache(maxsize=64)  # called for every entity of every answer
def _names(types: tuple[tuple[str, str], ...]) -> tuple[str, ...]:
    return tuple(name for name, _ in types)


def _pairs(types: object) -> tuple[tuple[str, str], ...]:
    """Convert any of the accepted forms to pairs of (name, description)."""
    items = list(types.items()) if isinstance(types, Mapping) else types
    if not isinstance(items, (list, tuple)):
        raise InputError("Invalid label set", received=types, accepted=_ACCEPTED)
    pairs = [(item, "") if isinstance(item, str) else item for item in items]
    for pair in pairs:
        if not isinstance(pair, (list, tuple)) or len(pair) != 2 or not all(isinstance(part, str) for part in pair):
            raise InputError("Invalid entity type", received=pair, accepted=_ACCEPTED)
    return tuple((name, description) for name, description in pairs)


COARSE = LabelSet.of(
    {
        "PER": "person or group of persons by name",
        "LOC": "place, city, country, landmark",
        "ORG": "company, team, band, institution, party",
        "OTHER": "named product, work, event, award, nationality or other name",
    }
)
"""The four types of Twitter-GMNER; the default label set."""
