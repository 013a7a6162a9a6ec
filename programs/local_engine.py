"""The local engine of an LM, if it has one; only this module reads `lm.engine`."""

from __future__ import annotations

from typing import TypeVar

import dspy

from gmner.programs.models.families import Batching, InProcess, Profiled

_E = TypeVar("_E")


def engine_of(lm: dspy.BaseLM | None, kind: type[_E]) -> _E | None:
    """The engine of an LM if it is an instance of `kind`; None for another engine, a served model or no LM."""
    engine = _engine(lm)
    return engine if isinstance(engine, kind) else None


def profiled_engine(lm: dspy.BaseLM | None) -> Profiled | None:
    """The engine of an LM if it has a model profile; None for a served model."""
    engine = _engine(lm)
    return engine if isinstance(engine, Profiled) else None


def batching_engine(lm: dspy.BaseLM | None) -> Batching | None:
    """The engine of an LM if it processes requests in batches, else None."""
    engine = _engine(lm)
    return engine if isinstance(engine, Batching) else None


def in_process_engine(lm: dspy.BaseLM | None) -> InProcess | None:
    """The engine of an LM if it receives images of this process by name, else None."""
    engine = _engine(lm)
    return engine if isinstance(engine, InProcess) else None


def is_served(lm: dspy.BaseLM) -> bool:
    """Whether DSPy sends the requests of an LM to a server; its `engine` is then a string."""
    return isinstance(_engine(lm), str)


def _engine(lm: dspy.BaseLM | None) -> object:
    return getattr(lm, "engine", None)
