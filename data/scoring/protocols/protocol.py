"""`Protocol`: a way of counting correct predictions, as data and a function."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from gmner.data.scoring import counting
from gmner.data.scoring.counting import Counter, PostCounts
from gmner.data.scoring.region_rule import RegionRule
from gmner.signatures.mentions import GoldEntity, GroundedEntity

AT_LEAST = RegionRule(0.5, inclusive=True)
"""The region rule of most systems: an IoU of at least 0.5."""


@dataclass(frozen=True, slots=True)
class Protocol:
    """A way of counting correct predictions.

    Attributes:
        name: The name of the protocol.
        region: When a predicted box is correct.
        count: Counts one post, `count(gold, predicted, region)`, and returns `TaskCounts` for each of the tasks
            `gmner`, `mner` and `eeg`. It decides how spans are compared.
        source: The publication or script that defines the rule.
        oddity: The difference from `paper`, in a few words.
        loses_adjacent: Whether a gold mention directly after another one is ignored, see
            `gmner.data.scoring.counting.without_adjacent`.
        drops_unknown_types: Whether predictions of types that the data set does not have are ignored rather than wrong.
    """

    name: str
    region: RegionRule
    count: Counter
    source: str
    oddity: str = ""
    loses_adjacent: bool = False
    drops_unknown_types: bool = False

    def __call__(
        self,
        gold: Sequence[GoldEntity],
        predicted: Sequence[GroundedEntity],
        types: Collection[str] | None = None,
    ) -> PostCounts:
        """Count one post.

        Args:
            gold: The gold mentions of the post.
            predicted: The predicted entities.
            types: The types of the data set; None: every type is known.

        Returns:
            `TaskCounts` by task.
        """
        if self.drops_unknown_types and types is not None:
            predicted = [entity for entity in predicted if entity.type in types]
        return self.count(self.kept(gold), predicted, self.region)

    def kept(self, gold: Sequence[GoldEntity]) -> Sequence[GoldEntity]:
        """The gold mentions that the protocol counts."""
        return counting.without_adjacent(gold) if self.loses_adjacent else gold
