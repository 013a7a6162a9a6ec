"""How E2E-GMNER counts."""

from __future__ import annotations

from gmner.data.scoring import counting
from gmner.data.scoring.protocols.protocol import AT_LEAST, Protocol

E2E_GMNER = Protocol(
    "e2e-gmner",
    AT_LEAST,
    counting.count_strings_any_box,
    "E2E-GMNER, evaluation/metrics.py",
    "spans compared as strings; IoU >= 0.5; several predicted boxes allowed",
)
