"""How SAKE counts: by its rule, and as its script does."""

from __future__ import annotations

from gmner.data.scoring import counting
from gmner.data.scoring.protocols.protocol import AT_LEAST, Protocol

_SOURCE = "SAKE (Tang et al.), EntityEvaluator"

SAKE = Protocol(
    "sake",
    AT_LEAST,
    counting.count_word_sets,
    _SOURCE,
    "sets of strings; IoU >= 0.5; one gold row per box; adjacent mentions lost; unknown types dropped",
    loses_adjacent=True,
    drops_unknown_types=True,
)
SAKE_SCRIPT = Protocol(
    "sake-script",
    AT_LEAST,
    counting.count_word_sets_script,
    _SOURCE,
    "as sake, but posts without gold or predictions are left out, and a wrong region also counts as `not shown`",
    loses_adjacent=True,
    drops_unknown_types=True,
)
