"""How RiVEG counts: by its rule, and as its script does."""

from __future__ import annotations

from gmner.data.scoring import counting
from gmner.data.scoring.protocols.protocol import AT_LEAST, Protocol

_SOURCE = "RiVEG (Li et al., Findings of ACL 2024), statistic/statistic.py"

RIVEG = Protocol(
    "riveg", AT_LEAST, counting.count_strings, _SOURCE, "spans compared as strings, not positions; IoU >= 0.5"
)
RIVEG_SCRIPT = Protocol(
    "riveg-script",
    AT_LEAST,
    counting.count_strings_script,
    _SOURCE,
    "as riveg, but a gold row can be matched repeatedly",
)
