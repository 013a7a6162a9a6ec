"""The table of entity types on the page, as a label set."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from gmner.signatures.labels import LabelSet


def table_of(labels: LabelSet) -> list[list[str]]:
    """A label set as rows of name and description."""
    return [[name, description] for name, description in labels.types]


def labels_of_table(rows: Iterable[Sequence[object]]) -> LabelSet:
    """The label set of rows of name and description; rows without a name are left out.

    Raises:
        InputError: No row has a name, or a name occurs twice.
    """
    cells = [[("" if cell is None else str(cell)).strip() for cell in (*row, "", "")[:2]] for row in rows]
    return LabelSet(tuple((name, description) for name, description in cells if name))
