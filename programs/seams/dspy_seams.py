"""Private and undocumented parts of DSPy; no other file of the package uses any.

`dspy.lm15`, in which requests reach a local engine, is public. `tests/seams/test_dspy_seams.py` checks it too, and
fails with the name of a seam that has moved.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from contextvars import Context
from typing import Any

import dspy

from gmner.signatures.log_filters import without_messages


def set_compiled(program: Any, compiled: bool) -> None:
    """Say whether a program was compiled.

    Relies on `Module._compiled`, which DSPy's optimizers set, and which `BootstrapFewShot` and others refuse or skip.
    There is no public name. Since DSPy 3.4.1.
    """
    program._compiled = compiled


def requested_trace() -> list[Any] | None:
    """The trace that a caller started with `dspy.context(trace=[])`, as optimizers do; None: no caller did.

    Relies on `dspy.settings` keeping its overrides in context variables: an empty context shows the process-wide trace,
    to which DSPy adds every call, with its inputs and its predictor. No public name tells the two apart. Since
    DSPy 3.4.1.
    """
    trace = dspy.settings.trace
    return None if trace is Context().run(getattr, dspy.settings, "trace") else trace


def truncation_is_expected() -> AbstractContextManager[None]:
    """Do not log that an answer reached its token limit, for questions whose answers may be cut.

    Relies on the logger `dspy.clients.lm` and on the words of its warning; no setting turns it off. Since DSPy 3.4.1.
    """
    return without_messages("dspy.clients.lm", "LM response was truncated")
