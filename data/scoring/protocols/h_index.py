"""How H-Index counts."""

from __future__ import annotations

from gmner.data.scoring import counting
from gmner.data.scoring.protocols.protocol import Protocol
from gmner.data.scoring.region_rule import PAPER_REGION

H_INDEX = Protocol(
    "h-index",
    PAPER_REGION,
    counting.count_last_by_offsets,
    "H-Index (Yu et al., ACL 2023), model/metrics.py",
    "of two predictions at the same position, the later one counts",
)
