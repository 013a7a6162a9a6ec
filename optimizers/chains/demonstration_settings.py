"""`Demonstrations`: how many worked examples a prompt gets, how they are chosen, and how they are checked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from gmner.optimizers.chains.demonstrations import LEVELS, Level
from gmner.signatures.errors import InputError
from gmner.signatures.number_checks import check_integer


@dataclass(frozen=True, kw_only=True, slots=True)
class Demonstrations:
    """Settings of the demonstrations, the worked examples in the prompt.

    Args:
        count: Number of demonstrations. None: none if the weights are trained, because they then hold the chains;
            `served_count` if they are not.
        served_count: Number of demonstrations for an LM whose weights are not accessible, if `count` is None.
        sets: Random sets that the search tries beside the empty set and the set that covers all kinds of posts.
        max_metric_calls: Maximum number of metric calls of the search on the validation set. None, or no validation
            set: no search; the set that covers shown, absent, mixed and empty posts in different styles is used.
        side: Maximum side length of a demonstration's image, in pixels. Larger images are scaled down, and boxes with
            them.
        check: What happens if a demonstration is faulty: `off` (it is not checked), `warn` or `error`. The check comes
            before the first model call.

    Raises:
        InputError: A value out of range.

    Example:
        >>> import gmner
        >>> gmner.MRSI(demonstrations=gmner.Demonstrations(count=4)).demonstrations.count
        4
    """

    count: int | None = None
    served_count: int = 4
    sets: int = 8
    max_metric_calls: int | None = None
    side: int = 512
    check: Level = "error"

    def __post_init__(self) -> None:
        """Refuse values out of range."""
        check_integer("count", self.count, least=0, optional=True)
        check_integer("served_count", self.served_count, least=0)
        check_integer("sets", self.sets, least=0)
        check_integer("max_metric_calls", self.max_metric_calls, least=0, optional=True)
        check_integer("side", self.side)
        if self.check not in LEVELS:
            raise InputError("Unknown value of check", received=self.check, accepted=", ".join(LEVELS))

    def wanted(self, *, trained: bool) -> int | None:
        """Number of demonstrations to choose; None: the program keeps the ones that it has.

        Args:
            trained: Whether the weights are trained.
        """
        return self.served_count if self.count is None and not trained else self.count

    def to_record(self) -> dict[str, Any]:
        """The settings as JSON data, under the names that run directories have always used."""
        return {
            "demonstrations": self.count, "served_demonstrations": self.served_count,
            "max_metric_calls": self.max_metric_calls, "demonstration_sets": self.sets,
            "demonstration_side": self.side, "check": self.check,
        }  # fmt: skip
