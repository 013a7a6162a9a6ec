"""The calls of a program that answers each post in one call, for training without a program."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import dspy

from gmner.data.post import Post
from gmner.programs.trainable import ProgramCall
from gmner.programs.trainable import post_inputs as post_inputs


def answer_calls(
    posts: Sequence[Post], signature: type[dspy.Signature], demos: Sequence[Mapping[str, Any]]
) -> list[ProgramCall]:
    """One call for each post, as a program makes them that answers in one call."""
    return [ProgramCall(post, signature, demos, post_inputs(post)) for post in posts]
