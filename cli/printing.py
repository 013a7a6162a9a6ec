"""What commands print: results to standard output, messages to standard error, both safe for a terminal."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence

from gmner.data.listing import counted
from gmner.signatures.terminal import printable, printable_line

_NAMED = 5


def print_result(text: str) -> None:
    """Print the result of a command to standard output."""
    sys.stdout.write(printable(text) + "\n")


def print_message(text: str) -> None:
    """Print one line to standard error."""
    sys.stderr.write(printable_line(text) + "\n")


def print_failures(failures: Mapping[str, int], hint: str = "") -> None:
    """Print how many posts failed, by kind of error; nothing if none did.

    Args:
        failures: Kind of error -> number of posts.
        hint: Added to the line.
    """
    if failures:
        kinds = ", ".join(f"{kind} {count}" for kind, count in sorted(failures.items()))
        print_message(f"{posts(sum(failures.values()))} failed: {kinds}{hint}")


def print_ids(fact: str, ids: Sequence[str]) -> None:
    """Print a fact about posts or predictions, how many there are and the first ids; nothing if there are none."""
    if ids:
        more = f" and {len(ids) - _NAMED:,} more" if len(ids) > _NAMED else ""
        print_message(f"{fact} ({len(ids):,}): {', '.join(ids[:_NAMED])}{more}")


def figure(value: float | int | None) -> str:
    """A score with two decimals, a count without, and a dash for None."""
    return "-" if value is None else f"{value:,.2f}" if isinstance(value, float) else f"{value:,}"


def posts(count: int) -> str:
    """A number of posts: `1 post`, `1,500 posts`."""
    return counted(count, "post", "posts")
