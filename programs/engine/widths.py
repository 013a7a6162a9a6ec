"""Which prompts share a batch: every row of a batch is as wide as its widest."""

from __future__ import annotations

from collections.abc import Sequence

READ_AT_ONCE = 4096
"""Most tokens, padding included, of prompts that are read in one pass: bounds its memory, and the wait of others."""

_FEW = 128
# So much padding a row costs less than a pass of its own.


def alike(narrowest: int, widest: int) -> bool:
    """Whether rows of these widths, in tokens, may share a batch: at most half of a row is padding."""
    return widest <= max(2 * narrowest, narrowest + _FEW)


def grouped(widths: Sequence[int]) -> list[list[int]]:
    """The places of prompts, narrow ones first, in groups that are read in one pass each.

    Args:
        widths: Tokens of each prompt.
    """
    groups: list[list[int]] = []
    for place in sorted(range(len(widths)), key=lambda place: widths[place]):
        width = widths[place]
        if groups and alike(widths[groups[-1][0]], width) and (len(groups[-1]) + 1) * width <= READ_AT_ONCE:
            groups[-1].append(place)
        else:
            groups.append([place])
    return groups
