"""How MQSPN counts: by its rule, and as its script does."""

from __future__ import annotations

from gmner.data.scoring import counting
from gmner.data.scoring.protocols.protocol import AT_LEAST, Protocol

_SOURCE = "MQSPN (Tang et al., AAAI 2025), src/evaluator.py"

MQSPN = Protocol(
    "mqspn",
    AT_LEAST,
    counting.count_offset_sets,
    _SOURCE,
    "sets of positions; IoU >= 0.5; one gold row per box; adjacent mentions lost",
    loses_adjacent=True,
)
MQSPN_SCRIPT = Protocol(
    "mqspn-script",
    AT_LEAST,
    counting.count_offset_sets_script,
    _SOURCE,
    "as mqspn, but a wrong region also counts as `not shown`",
    loses_adjacent=True,
)
