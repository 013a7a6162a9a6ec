"""`NamedLM`: a `dspy.LM` that is shown by its model string."""

from __future__ import annotations

from typing import Any

import dspy

from gmner.programs.thoughts import note_thoughts


class NamedLM(dspy.LM):
    """A `dspy.LM` that is shown by its model string, and whose thinking is kept with the answers of a program."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """See `dspy.LM`."""
        outputs = super().__call__(*args, **kwargs)
        note_thoughts(outputs)
        return outputs

    async def acall(self, *args: Any, **kwargs: Any) -> Any:
        """`__call__` for asyncio."""
        outputs = await super().acall(*args, **kwargs)
        note_thoughts(outputs)
        return outputs

    def __repr__(self) -> str:
        """For example `LM('local/embedded@1a2b3c')`."""
        return f"LM({self.model!r})"
