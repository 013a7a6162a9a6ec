"""`Chain`: a reasoning chain about the gold annotation of a post, with its answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Chain:
    """One reasoning chain with its answer.

    Attributes:
        post_id: The post it belongs to.
        style: The name of its style.
        reasoning: The chain.
        entities: The gold answer as plain data, boxes in pixels of the original image; see `as_data`.
        author: Who wrote it: `template`, `llm` or `mllm`.
        problem: Why this chain replaces the one that the style wrote, as `kind: message`; empty if it replaces none.
    """

    post_id: str
    style: str
    reasoning: str
    entities: tuple[dict[str, Any], ...]
    author: str = "template"
    problem: str = ""

    def to_record(self) -> dict[str, Any]:
        """The chain as JSON data."""
        return {**asdict(self), "entities": list(self.entities)}

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Chain:
        """Inverse of `to_record`."""
        return cls(**{**record, "entities": tuple(record["entities"])})
