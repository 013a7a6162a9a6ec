"""Groups prompts by length: every row of a batch is padded to the longest one."""

from __future__ import annotations

from collections.abc import Sequence

READ_AT_ONCE = 4096
"""Largest number of tokens, padding included, in one prefill. Limits its memory, and the delay of active answers."""

_FEW = 128
# Up to this much padding a row is cheaper than a separate prefill.


def alike(narrowest: int, widest: int) -> bool:
    """Whether rows of these widths (tokens) may share a batch: at most half of a row, or `_FEW` tokens, is padding."""
    return widest <= max(2 * narrowest, narrowest + _FEW)


def grouped(widths: Sequence[int]) -> list[list[int]]:
    """Group prompts for prefill, the shortest first.

    Args:
        widths: Length of each prompt in tokens.

    Returns:
        The indices of the prompts in each group.
    """
    groups: list[list[int]] = []
    for place in sorted(range(len(widths)), key=lambda place: widths[place]):
        width = widths[place]
        if groups and alike(widths[groups[-1][0]], width) and (len(groups[-1]) + 1) * width <= READ_AT_ONCE:
            groups[-1].append(place)
        else:
            groups.append([place])
    return groups
