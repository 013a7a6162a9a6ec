"""Which engine of this process is behind an LM, if any; the one place that looks at `lm.engine`."""

from __future__ import annotations

from typing import TypeVar

import dspy

from gmner.programs.models.families import Batching, InProcess, Profiled

_E = TypeVar("_E")


def engine_of(lm: dspy.BaseLM | None, kind: type[_E]) -> _E | None:
    """The engine behind an LM where it is of this class; None for another engine, a served model or no LM."""
    engine = _engine(lm)
    return engine if isinstance(engine, kind) else None


def profiled_engine(lm: dspy.BaseLM | None) -> Profiled | None:
    """The engine behind an LM that knows the profile of its model; None: the model is served."""
    engine = _engine(lm)
    return engine if isinstance(engine, Profiled) else None


def batching_engine(lm: dspy.BaseLM | None) -> Batching | None:
    """The engine behind an LM that answers several requests as one batch, or None."""
    engine = _engine(lm)
    return engine if isinstance(engine, Batching) else None


def in_process_engine(lm: dspy.BaseLM | None) -> InProcess | None:
    """The engine behind an LM that is passed images of this process by name, or None."""
    engine = _engine(lm)
    return engine if isinstance(engine, InProcess) else None


def is_served(lm: dspy.BaseLM) -> bool:
    """Whether DSPy itself sends the requests of an LM to a server: its engine is then only a name."""
    return isinstance(_engine(lm), str)


def _engine(lm: dspy.BaseLM | None) -> object:
    return getattr(lm, "engine", None)
