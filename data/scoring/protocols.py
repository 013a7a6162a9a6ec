"""Protocols: the ways in which published results were counted, as data and a small function each.

`paper` is the rule of the ACL 2023 paper and the default. The others replay the counting of published systems, whose
figures were not made by one rule. A name that ends in `-script` is the counting of that system's released evaluation
script to the letter, where the script counts something that its rule does not say.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from gmner.data.scoring import counting
from gmner.data.scoring.counting import Counter, PostCounts
from gmner.data.scoring.region_rule import PAPER_REGION, RegionRule
from gmner.signatures.errors import InputError
from gmner.signatures.mentions import GoldEntity, GroundedEntity

AT_LEAST = RegionRule(0.5, inclusive=True)


@dataclass(frozen=True, slots=True)
class Protocol:
    """A scoring protocol: the rules by which a published system counts correct predictions.

    Attributes:
        name: Name of the protocol.
        region: When a predicted region is correct.
        count: Function that counts one post: (gold, predicted, region rule) -> `TaskCounts` by task. It defines how
            spans are compared, and whether a mention with several boxes counts once or once per box.
        source: Where the rules are from.
        oddity: How the protocol differs from `paper`, in a few words.
        loses_adjacent: Whether a gold mention directly after another one is ignored, see `gmner.data.scoring.counting`.
        drops_unknown_types: Whether a prediction whose type the data set does not have is ignored instead of counted as
            wrong.
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
            gold: Its gold mentions.
            predicted: The answer.
            types: The types that the data set has; None: every type is known.

        Returns:
            `TaskCounts` by task.
        """
        if self.drops_unknown_types and types is not None:
            predicted = [entity for entity in predicted if entity.type in types]
        return self.count(self.kept(gold), predicted, self.region)

    def kept(self, gold: Sequence[GoldEntity]) -> Sequence[GoldEntity]:
        """Return the gold mentions that this protocol counts."""
        return counting.without_adjacent(gold) if self.loses_adjacent else gold


PAPER = Protocol(
    "paper", PAPER_REGION, counting.count_offsets, "Yu et al., ACL 2023: the rule of the paper", "the default"
)
_MQSPN = "MQSPN (Tang et al., AAAI 2025), src/evaluator.py"
_SAKE = "SAKE (Tang et al.), EntityEvaluator"
_RIVEG = "RiVEG (Li et al., Findings of ACL 2024), statistic/statistic.py"
_ALL = (
    PAPER,
    Protocol("riveg", AT_LEAST, counting.count_strings, _RIVEG, "compares words, not positions; IoU >= 0.5"),
    Protocol(
        "e2e-gmner",
        AT_LEAST,
        counting.count_strings_any_box,
        "E2E-GMNER, evaluation/metrics.py",
        "compares words, not positions; IoU >= 0.5; allows several predicted boxes",
    ),
    Protocol(
        "sake",
        AT_LEAST,
        counting.count_word_sets,
        _SAKE,
        "compares sets of words; IoU >= 0.5; one gold row per box; ignores adjacent mentions and unknown types",
        loses_adjacent=True,
        drops_unknown_types=True,
    ),
    Protocol(
        "mqspn",
        AT_LEAST,
        counting.count_offset_sets,
        _MQSPN,
        "compares sets of positions; IoU >= 0.5; one gold row per box; ignores adjacent mentions",
        loses_adjacent=True,
    ),
    Protocol(
        "h-index",
        PAPER_REGION,
        counting.count_last_by_offsets,
        "H-Index (Yu et al., ACL 2023), model/metrics.py",
        "of several mentions at one position, only the last counts",
    ),
    Protocol(
        "riveg-script",
        AT_LEAST,
        counting.count_strings_script,
        _RIVEG,
        "riveg, but a gold row can be matched repeatedly",
    ),
    Protocol(
        "sake-script",
        AT_LEAST,
        counting.count_word_sets_script,
        _SAKE,
        "sake, but ignores posts without gold or without predictions, and a wrong region also counts as `not shown`",
        loses_adjacent=True,
        drops_unknown_types=True,
    ),
    Protocol(
        "mqspn-script",
        AT_LEAST,
        counting.count_offset_sets_script,
        _MQSPN,
        "mqspn, but a wrong region also counts as `not shown`",
        loses_adjacent=True,
    ),
)
PROTOCOLS: Mapping[str, Protocol] = MappingProxyType({protocol.name: protocol for protocol in _ALL})
"""The protocols by name, `paper` first."""


def find_protocol(protocol: str | Protocol) -> Protocol:
    """A protocol by its name, or the protocol itself.

    Raises:
        InputError: No protocol has this name.
    """
    if isinstance(protocol, Protocol):
        return protocol
    if protocol not in PROTOCOLS:
        raise InputError("Unknown protocol", received=protocol, accepted=", ".join(PROTOCOLS))
    return PROTOCOLS[protocol]
