"""The rule of the paper that introduced the task; the default."""

from __future__ import annotations

from gmner.data.scoring import counting
from gmner.data.scoring.protocols.protocol import Protocol
from gmner.data.scoring.region_rule import PAPER_REGION

PAPER = Protocol(
    "paper", PAPER_REGION, counting.count_offsets, "Yu et al., ACL 2023: the rule of the paper", "the default"
)
