"""Checks in which coordinate convention the model writes boxes; see `gmner.probe`."""

from __future__ import annotations

from typing import Any

from gmner.programs.gmner import GMNER
from gmner.programs.models.probe.probing import probe

CONTRADICTED = "contradicted"
"""The state of a probe whose boxes do not fit the profile of the model."""

_KEPT = ("state", "mean_iou", "reason", "schema_enforced", "calls", "malformed", "errors", "seconds")


def probing(program: GMNER, tokens: int) -> dict[str, Any]:
    """Probe the model of a program.

    Args:
        program: The program.
        tokens: Token limit of an answer in free text.

    Returns:
        The profile in force, the convention of the boxes (None: it cannot be told), and the figures of the report.
    """
    report = probe(program.model, max_tokens=tokens, progress=False).to_dict()
    called, profile = report["called"], report["profile"]
    return {"profile": profile, "convention": called and called["title"], **{name: report[name] for name in _KEPT}}
