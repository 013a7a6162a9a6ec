"""`NamedLM`: a `dspy.LM` that is shown by its model string."""

from __future__ import annotations

import dspy


class NamedLM(dspy.LM):
    """A `dspy.LM` that is shown by its model string."""

    def __repr__(self) -> str:
        """For example `LM('local/embedded@1a2b3c')`."""
        return f"LM({self.model!r})"
